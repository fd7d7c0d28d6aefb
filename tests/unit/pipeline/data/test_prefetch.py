"""Batches on their way to a GPU keep their pinned memory until it is copied; CUDA is played here."""

import time
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.data.batch import Batch, Seconds
from pipeline.data.prefetch import on_device


class Pinned:
    """Stands for a tensor, here and on the device."""

    def to(self, device: Any, non_blocking: bool) -> "Pinned":
        return Pinned()

    def record_stream(self, stream: Any) -> None:
        pass


class Stream:
    """Copies that end when told."""

    done = False
    waited_for = False

    def __init__(self, device: Any = None) -> None:
        pass

    def record_event(self) -> SimpleNamespace:
        return SimpleNamespace(query=lambda: Stream.done)

    def wait_stream(self, other: "Stream") -> None:
        pass

    def synchronize(self) -> None:
        Stream.waited_for = True


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(Stream, "done", False)
    monkeypatch.setattr(Stream, "waited_for", False)


def test_what_a_device_copies_from_is_held_until_it_has() -> None:
    sent: list[weakref.ref[Pinned]] = []

    def batches() -> Iterator[Batch]:
        for step in range(9):
            clips: Any = Pinned()
            sent.append(weakref.ref(clips))
            batch = Batch(0, step, [], [], clips, clips)
            del clips
            yield batch
            del batch

    made = on_device(batches(), SimpleNamespace(type="cuda"))  # type: ignore[arg-type]
    for _ in range(4):
        next(made)
    assert [clips() is not None for clips in sent] == [True] * 4
    Stream.done = True
    next(made)
    assert [clips() is not None for clips in sent] == [False] * 4 + [True]
    made.close()  # type: ignore[attr-defined]
    assert Stream.waited_for


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_done_to_a_batch_here_is_its_hand_over(device: str) -> None:
    def change(batch: Batch) -> Batch:
        time.sleep(0.02)
        return batch

    clips: Any = Pinned()
    batch = Batch(0, 0, [], [], clips, clips, seconds=Seconds(1.0, 2.0, 3.0))
    made = on_device(iter([batch]), SimpleNamespace(type=device), change)  # type: ignore[arg-type]
    seconds = next(made).seconds
    assert seconds[:2] == (1.0, 2.0) and 3.02 <= seconds.hand_over < 4

"""Checkpoints written beside training."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.run import checkpoint
from pipeline.run.checkpoint import Checkpoints
from pipeline.run.snapshot import BackgroundCheckpoints
from sharding import storage
from sharding.errors import UserError


def test_what_changes_after_the_call_is_not_in_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), storage.write_bytes

    def slow(url: str, data: bytes) -> None:
        assert go.wait(10)
        write(url, data)

    monkeypatch.setattr(storage, "write_bytes", slow)
    weight = torch.zeros(4)
    state: dict[str, Any] = {"model": {"w": weight}, "optimizer": [{"m": weight}], "config": {}}
    background = BackgroundCheckpoints(Checkpoints(str(tmp_path), keep=1))
    background.save(1, state, None)
    weight += 1  # while nothing is written yet
    go.set()
    background.close()
    saved = checkpoint.load(str(tmp_path))
    assert torch.equal(saved["model"]["w"], torch.zeros(4))
    assert torch.equal(saved["optimizer"][0]["m"], torch.zeros(4))


def test_an_error_of_the_writing_is_raised_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, data: bytes) -> None:
        raise UserError(f"{url}: no space left on device")

    monkeypatch.setattr(storage, "write_bytes", refuse)
    background = BackgroundCheckpoints(Checkpoints(str(tmp_path), keep=1))
    background.save(1, {"config": {}}, None)
    with pytest.raises(UserError, match=r"step-00000001\.pt: no space left"):
        background.save(2, {"config": {}}, None)
    background.close()

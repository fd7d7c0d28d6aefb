"""A rank's own seconds by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.data.batch import Seconds


class ForwardClock:
    """Seconds of forward passes; on a GPU those of the device, which is not waited for before `read`."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = 0.0
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the block."""
        if self._on_gpu:
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begun.record()
            yield
            ended.record()
            self._marks.append((begun, ended))
        else:
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start

    def read(self) -> float:
        """The seconds since the last call; the device must have done all that was counted."""
        on_gpu: float = sum(begun.elapsed_time(ended) for begun, ended in self._marks) / 1000
        seconds = self._seconds + on_gpu
        self._seconds, self._marks = 0.0, []
        return seconds


class Stages:
    """Adds up what this rank spends in each of `STAGES`."""

    def __init__(self, forward: ForwardClock) -> None:
        self._forward = forward
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self.waited = self._saved = 0.0
        self._made = Seconds()
        self._forward.read()

    def add(self, waited: float, made: Seconds) -> None:
        """A batch was `waited` for so long, its hand-over included, and its makers spent their time as in `made`."""
        self.waited += waited
        self._made = self._made.plus(made)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Count the block as the checkpoint's."""
        start = time.perf_counter()
        yield
        self._saved += time.perf_counter() - start

    def read(self) -> list[float]:
        """Seconds by stage. What was waited for the loader is shared out as that spent its own time."""
        reading, decoding, handed_over = self._made
        waited, made = self.waited - handed_over, reading + decoding
        read = waited * (reading / made if made else 0.5)
        return [read, waited - read, handed_over, self._forward.read(), self._saved]

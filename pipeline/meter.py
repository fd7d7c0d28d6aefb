"""Figures of training between two lines of metrics."""

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.distributed import World

T = TypeVar("T")


class Meter:
    """Sums losses and right answers on the device, which is not waited for until `read`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.restart()

    def restart(self) -> None:
        """Leave out the time since the last figures: it went into something else."""
        self._start = time.perf_counter()
        self._waited_s = 0.0
        self._clips = self._steps = self._replaced = 0
        self._sums = torch.zeros(2, device=self._world.device)

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """`items`, with the time that each one is waited for counted."""
        while True:
            asked = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self._waited_s += time.perf_counter() - asked
            yield item

    def add(self, loss: Tensor, correct: Tensor, clips: int, replaced: int = 0) -> None:
        """One step's mean loss and number of right answers, scalars on the device, over this rank's `clips`.

        Of these, `replaced` stand in for damaged samples.
        """
        self._sums += torch.stack([loss.float(), correct.float()])
        self._clips += clips
        self._replaced += replaced
        self._steps += 1

    def read(self) -> dict[str, Any]:
        """The figures since the last call, over all ranks; every rank must call it."""
        stood_in = torch.full((1,), float(self._replaced), device=self._world.device)
        loss, correct, replaced = self._world.mean(torch.cat([self._sums, stood_in])).tolist()
        seconds = time.perf_counter() - self._start
        figures = {
            "loss": loss / self._steps,
            "top1": 100 * correct / self._clips,
            "clips_per_s": self._clips * self._world.ranks / seconds,
            "step_s": seconds / self._steps,
            "data_wait": self._waited_s / seconds,
            "replaced": round(replaced * self._world.ranks),
        }
        self.restart()
        return figures

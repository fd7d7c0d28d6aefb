"""Figures of training between two lines of metrics."""

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.ranks.distributed import World
from pipeline.training.learner import Step

T = TypeVar("T")


class Meter:
    """Sums losses and right answers on the device, which is not waited for until `read`.

    `share_of_a_clip`: see `pipeline.training.utilisation`.
    """

    def __init__(self, world: World, share_of_a_clip: float | None = None) -> None:
        self._world, self._share_of_a_clip = world, share_of_a_clip
        self.restart()

    def restart(self) -> None:
        """Leave out the time since the last figures: it went into something else."""
        self._start = time.perf_counter()
        self._waited_s = 0.0
        self._clips = self._steps = self._replaced = 0
        self._sums = torch.zeros(4, device=self._world.device)
        self._unfit: list[Tensor] = []

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

    def add(self, step: Step, clips: int, replaced: int = 0) -> None:
        """What one step says of this rank's `clips`, of which `replaced` stand in for damaged samples."""
        finite = torch.isfinite(step.loss)
        self._unfit.append(~finite)
        fit = [torch.where(finite, value, 0).float() for value in (step.loss, step.grad_norm)]
        self._sums += torch.stack([*fit, step.top1.float(), step.top5.float()])
        self._clips += clips
        self._replaced += replaced
        self._steps += 1

    def read(self) -> tuple[dict[str, Any], list[bool]]:
        """The figures since the last call, over all ranks, and which steps had a loss that is not finite on any rank.

        Every rank must call it; here the device is waited for.
        """
        device, ranks = self._world.device, self._world.ranks
        stood_in = torch.tensor([float(self._replaced)], device=device)
        unfit = torch.stack(self._unfit).float()
        sums = self._world.mean(torch.cat([self._sums, stood_in, unfit])).tolist()
        seconds = time.perf_counter() - self._start
        rate, wait = self._clips / seconds, self._waited_s / seconds
        extremes = self._world.largest(torch.tensor([-rate, wait], device=device)).tolist()
        loss, grad_norm, top1, top5, replaced, *unfit_shares = sums
        skipped = [share > 0 for share in unfit_shares]
        fit = self._steps - sum(unfit_shares)
        figures = {
            "loss": loss / fit if fit else float("nan"),
            "top1": 100 * top1 / self._clips,
            "top5": 100 * top5 / self._clips,
            "grad_norm": grad_norm / fit if fit else float("nan"),
            "clips_per_s": rate * ranks,
            "clips_per_s_slowest": -extremes[0],
            "step_s": seconds / self._steps,
            "data_wait": extremes[1],
            "replaced": round(replaced * ranks),
            "nonfinite": sum(skipped),
        }
        if self._share_of_a_clip is not None:
            figures["mfu"] = rate * self._share_of_a_clip
        if device.type == "cuda":
            figures["gpu_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        self.restart()
        return figures, skipped

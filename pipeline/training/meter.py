"""Figures of training between two lines of metrics."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from pipeline.data.batch import Batch
from pipeline.pace.slowest import STAGES, WAIT, slowest, waits
from pipeline.pace.stages import ForwardClock, Stages
from pipeline.ranks.distributed import World
from pipeline.training.learner import Step


class Meter:
    """Sums losses and right answers on the device, which is not waited for until `read`.

    `hosts`: of all ranks, on the main process; `share_of_a_clip`: see `pipeline.training.utilisation`. Where clips have
    `several` labels, `hit1` and `hit5` are the shares of clips of which the first answer is one of them, or any of the
    first five (those of YouTube-8M).
    """

    def __init__(
        self,
        world: World,
        forward: ForwardClock,
        hosts: list[str],
        share_of_a_clip: float | None = None,
        several: bool = False,
    ) -> None:
        self._names = ("hit1", "hit5") if several else ("top1", "top5")
        self._world, self._hosts, self._share_of_a_clip = world, hosts, share_of_a_clip
        self._stages = Stages(forward)
        self.restart()

    def restart(self) -> None:
        """Leave out the time since the last figures: it went into something else."""
        self._start = time.perf_counter()
        self._stages.restart()
        self._clips = self._steps = self._replaced = 0
        self._sums = torch.zeros(4, device=self._world.device)
        self._unfit: list[Tensor] = []

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """`batches`, with the time that each one is waited for counted."""
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._stages.add(time.perf_counter() - asked, batch.seconds)
            yield batch

    def saving(self) -> AbstractContextManager[None]:
        """Count the block as a checkpoint's time."""
        return self._stages.saving()

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
        rate, wait = self._clips / seconds, self._stages.waited / seconds
        extremes = self._world.largest(torch.tensor([-rate, wait], device=device)).tolist()
        rows = self._rows(seconds)
        loss, grad_norm, first, five, replaced, *unfit_shares = sums
        skipped = [share > 0 for share in unfit_shares]
        fit = self._steps - sum(unfit_shares)
        figures = {
            "loss": loss / fit if fit else float("nan"),
            self._names[0]: 100 * first / self._clips,
            self._names[1]: 100 * five / self._clips,
            "grad_norm": grad_norm / fit if fit else float("nan"),
            "clips_per_s": rate * ranks,
            "clips_per_s_slowest": -extremes[0],
            "step_s": seconds / self._steps,
            "data_wait": extremes[1],
            "replaced": round(replaced * ranks),
            "nonfinite": sum(skipped),
        }
        if self._hosts:
            figures |= _told(rows, self._hosts)
        if self._share_of_a_clip is not None:
            figures["mfu"] = rate * self._share_of_a_clip
        if device.type == "cuda":
            figures["gpu_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        self.restart()
        return figures, skipped

    def _rows(self, seconds: float) -> list[list[float]]:
        """Each rank's time by stage, as shares of the last `seconds`."""
        rows = torch.zeros(self._world.ranks, len(STAGES), device=self._world.device)
        rows[self._world.rank] = torch.tensor([spent / seconds for spent in self._stages.read()])
        shares: list[list[float]] = (self._world.mean(rows) * self._world.ranks).tolist()
        return shares


def _told(rows: list[list[float]], hosts: list[str]) -> dict[str, Any]:
    """What a line says of the ranks: the slowest by name, and the thousandths of its time that each spent in what."""
    found = slowest(rows)
    named = {
        "rank": found.rank,
        "host": hosts[found.rank],
        "stage": found.stage,
        "behind": round(found.behind, 3),
    }
    columns = [*zip(*rows, strict=True), waits(rows)]
    names = (*STAGES, WAIT)
    stages = {
        name: [round(1000 * share) for share in column] for name, column in zip(names, columns, strict=True)
    }
    return {"slowest": named, "stages": stages}

"""This project's loader: the place in the run that a checkpoint keeps, over shards of one tiny frame a sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.resume_sides.rank import SEED, Task
from pipeline.data.loader import batches
from pipeline.data.samples import Sample
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from pipeline.order.position import Position, check_shares
from sharding.format import manifest
from tests import shards

SHARD = 10


def make(folder: Path, samples: int) -> None:
    """The data: shards of ten samples, whose keys are their ids."""
    shards.make(folder, [SHARD] * (samples // SHARD), frames=1, width=8, height=8)


@dataclass(frozen=True)
class KeysAlone:
    """Makes no clip of a sample: what is compared is which samples come."""

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """One value a sample."""
        return 1, 1, 1, 1

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int:
        """Leaves `out` as it is."""
        return 0


class Loader:
    """A rank's: what `pipeline.training.feed` makes of a position."""

    def __init__(self, task: Task) -> None:
        self.task, self.done = task, 0
        self.split = manifest.load(f"{task.data}/train")
        batch = task.batch * task.ranks
        check_shares(batch, task.ranks)
        lanes = plan.default_lanes(task.ranks * task.workers, batch, self.split.samples)
        window = plan.lane_window(1024, lanes)
        self.at = Position(self.split.sha256, SEED, lanes, window, batch, task.steps)

    def load(self, states: list[Any]) -> None:
        """One state serves all ranks: the run's first lanes, and the steps that are done."""
        kept = {name: value for name, value in states[0].items() if name not in ("epoch", "step")}
        self.at = Position(**kept)

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """One stream over all epochs, opened at the position."""
        if not self.done:
            passes = Passes(self.at.global_batch, self.task.epochs, self.at.epoch, self.at.step)
            stream = ClipStream(
                self.split, KeysAlone(), self.at.order, passes, self.task.rank, self.task.ranks
            )
            self.made = batches(stream, self.task.workers)
            self.done = self.at.done
        for _ in range(done, self.task.steps):
            batch = next(self.made)
            self.done += 1
            yield [int(key.removeprefix("clip-")) for key in batch.keys]

    def state(self) -> Any:
        """The position."""
        return self.at.after(self.done).to_state()

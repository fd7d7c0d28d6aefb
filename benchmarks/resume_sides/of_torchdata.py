"""torchdata: `StatefulDataLoader` with its `StatefulDistributedSampler`, over a list in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from benchmarks.resume_sides.rank import SEED, Task, join


def make(folder: Path, samples: int) -> None:
    """The data set is a range of numbers."""


class Numbers:
    """Map-style: sample i is i."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, i: int) -> int:
        return i


class Loader:
    """A rank's."""

    def __init__(self, task: Task) -> None:
        join(task)
        self.rank = task.rank
        numbers: Any = Numbers(task.samples)
        self.sampler = StatefulDistributedSampler(
            numbers, num_replicas=task.ranks, rank=task.rank, shuffle=True, seed=SEED
        )
        self.loader = StatefulDataLoader(
            numbers, batch_size=task.batch, sampler=self.sampler, num_workers=task.workers
        )

    def load(self, states: list[Any]) -> None:
        """Its own state, or rank 0's where there was no such rank."""
        self.loader.load_state_dict(states[self.rank if self.rank < len(states) else 0])

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """The sampler is told the epoch."""
        self.sampler.set_epoch(number)
        for batch in self.loader:
            yield batch.tolist()

    def state(self) -> Any:
        """The loader's."""
        return self.loader.state_dict()

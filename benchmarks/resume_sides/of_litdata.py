"""litdata: `StreamingDataLoader.state_dict` and `load_state_dict`, in chunks of ten samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata

from benchmarks.resume_sides.rank import SEED, Task, join


def make(folder: Path, samples: int) -> None:
    """The data."""
    writer = litdata.streaming.Cache(str(folder), chunk_size=10)
    for i in range(samples):
        writer[i] = {"id": i}
    writer.done()
    writer.merge()


class Loader:
    """A rank's."""

    def __init__(self, task: Task) -> None:
        join(task)
        dataset = litdata.StreamingDataset(task.data, shuffle=True, drop_last=True, seed=SEED)
        self.rank = task.rank
        self.loader = litdata.StreamingDataLoader(dataset, batch_size=task.batch, num_workers=task.workers)

    def load(self, states: list[Any]) -> None:
        """Its own state, or rank 0's where there was no such rank."""
        self.loader.load_state_dict(states[self.rank if self.rank < len(states) else 0])

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """The loader counts epochs itself."""
        for batch in self.loader:
            yield batch["id"].tolist()

    def state(self) -> Any:
        """The loader's."""
        return self.loader.state_dict()

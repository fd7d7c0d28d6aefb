"""Grain: `get_state` and `set_state` of an iterator with `mp_prefetch`, over ArrayRecord files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
from array_record.python import array_record_module

from benchmarks.resume_sides.rank import SEED, Task

SHARD = 10


def make(folder: Path, samples: int) -> None:
    """The data: files of ten records."""
    for first in range(0, samples, SHARD):
        writer = array_record_module.ArrayRecordWriter(str(folder / f"{first:06d}"), "group_size:1")
        for i in range(first, first + SHARD):
            writer.write(str(i).encode())
        writer.close()


def all_epochs(task: Task) -> Any:
    """Every sample of every epoch, shuffled."""
    files = sorted(str(path) for path in Path(task.data).iterdir())
    source: Any = grain.sources.ArrayRecordDataSource(files)
    return grain.MapDataset.source(source).seed(SEED).shuffle().repeat(task.epochs).map(int)


class Loader:
    """A rank's: its share of all epochs, one iterator."""

    def __init__(self, task: Task) -> None:
        self.task = task
        mine = all_epochs(task)[task.rank :: task.ranks].batch(task.batch, drop_remainder=True)
        prefetch = grain.multiprocessing.MultiprocessingOptions(num_workers=task.workers)
        self.iterator = iter(mine.to_iter_dataset().mp_prefetch(prefetch))

    def load(self, states: list[Any]) -> None:
        """Its own state, or rank 0's where there was no such rank."""
        self.iterator.set_state(states[self.task.rank if self.task.rank < len(states) else 0])

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """So many steps of the iterator."""
        for _ in range(done, self.task.steps):
            try:
                batch = next(self.iterator)
            except StopIteration:
                return
            yield batch.tolist()

    def state(self) -> Any:
        """The iterator's."""
        return self.iterator.get_state()

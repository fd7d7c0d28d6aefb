"""Grain's `experimental.ElasticIterator`, which shares out batches itself, over the same files."""

from typing import Any

import grain

from benchmarks.resume_sides import of_grain
from benchmarks.resume_sides.rank import Task

make = of_grain.make


class Loader(of_grain.Loader):
    """A rank's."""

    def __init__(self, task: Task) -> None:
        self.task = task
        elastic = grain.experimental.ElasticIterator(
            of_grain.all_epochs(task),
            task.batch * task.ranks,
            grain.sharding.ShardOptions(task.rank, task.ranks, drop_remainder=True),
            multiprocessing_options=grain.multiprocessing.MultiprocessingOptions(num_workers=task.workers),
        )
        self.iterator = iter(elastic)

    def load(self, states: list[Any]) -> None:
        """One state serves all ranks."""
        self.iterator.set_state(states[0])

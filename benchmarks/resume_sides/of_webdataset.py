"""webdataset, which keeps no state: a run that goes on begins its epoch again."""

import json
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import webdataset

from benchmarks.resume_sides.rank import SEED, Task, join

SHARD = 10


def make(folder: Path, samples: int) -> None:
    """The data: tars of ten samples."""
    for first in range(0, samples, SHARD):
        with tarfile.open(folder / f"{first // SHARD:06d}.tar", "w") as tar:
            for i in range(first, first + SHARD):
                content = json.dumps({"id": i}).encode()
                member = tarfile.TarInfo(f"{i:06d}.json")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))


def number(sample: dict[str, Any]) -> int:
    """A sample's id."""
    return sample["json"]["id"]


class Loader:
    """A rank's: shards and samples shuffled by seed and epoch, shared out by node and by worker."""

    def __init__(self, task: Task) -> None:
        join(task)
        self.task = task

    def load(self, states: list[Any]) -> None:
        """There is none; the training loop knows the epoch."""

    def epoch(self, number_: int, done: int) -> Iterator[list[int]]:
        """The epoch from its start, unless the training loop knows that it is over."""
        if done == self.task.steps:
            return
        urls = sorted(str(path) for path in Path(self.task.data).glob("*.tar"))
        dataset = webdataset.DataPipeline(
            webdataset.SimpleShardList(urls),
            webdataset.detshuffle(100, seed=SEED, epoch=number_ - 1),
            webdataset.split_by_node,
            webdataset.split_by_worker,
            webdataset.tarfile_to_samples(),
            webdataset.detshuffle(100, seed=SEED, epoch=number_ - 1),
            webdataset.decode(),
            webdataset.map(number),
            webdataset.batched(self.task.batch, collation_fn=list),
        )
        yield from webdataset.WebLoader(dataset, batch_size=None, num_workers=self.task.workers)

    def state(self) -> None:
        """None."""

"""mosaicml-streaming: `StreamingDataLoader.state_dict` and `load_state_dict`, in MDS shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import streaming

from benchmarks.resume_sides.rank import SEED, Task, join


def make(folder: Path, samples: int) -> None:
    """The data."""
    with streaming.MDSWriter(out=str(folder), columns={"id": "int"}, size_limit=200) as writer:
        for i in range(samples):
            writer.write({"id": i})


class Loader:
    """A rank's."""

    def __init__(self, task: Task) -> None:
        join(task)
        dataset = streaming.StreamingDataset(
            local=task.data, shuffle=True, shuffle_seed=SEED, batch_size=task.batch
        )
        self.loader = streaming.StreamingDataLoader(dataset, batch_size=task.batch, num_workers=task.workers)

    def load(self, states: list[Any]) -> None:
        """One state serves all ranks: it counts the samples of all."""
        self.loader.load_state_dict(states[0])

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """The dataset counts epochs itself."""
        for batch in self.loader:
            yield batch["id"].tolist()

    def state(self) -> Any:
        """The loader's."""
        return self.loader.state_dict()

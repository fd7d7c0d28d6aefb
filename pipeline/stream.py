"""Plan and shards to decoded clips: what one consumer (a worker of a rank) adds to each global batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pipeline import plan
from pipeline.lanes import LaneReader, OpenShard
from pipeline.samples import Sample, checked
from sharding.errors import UserError
from sharding.manifest import Manifest


class Cutter(Protocol):
    """How a sample becomes a clip."""

    @property
    def num_frames(self) -> int: ...

    @property
    def size(self) -> int: ...

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Decode into `out`, uint8 (frames, 3, size, size) with channels-last memory; returns the label."""
        ...


@dataclass(frozen=True)
class Chunk:
    """One consumer's part of a global batch.

    `numbers`: the samples' numbers in the epoch; `clips`: uint8 (clips, frames, 3, size, size), channels-last
    memory; `labels`: int64 (clips,), -1 where unknown. `error`: why there is nothing more to come.
    """

    epoch: int
    step: int
    numbers: list[int]
    keys: list[str]
    labels: Tensor
    clips: Tensor
    error: str | None = None


@dataclass(frozen=True)
class Passes:
    """Which global batches are read: every epoch from `first_step` of `first_epoch` on, up to `epochs`."""

    global_batch: int
    epochs: int = 1
    first_epoch: int = 0
    first_step: int = 0
    drop_last: bool = True

    def steps(self, samples: int) -> int:
        """Steps of one epoch."""
        return plan.steps_in_epoch(samples, self.global_batch, self.drop_last)


class ClipStream(IterableDataset[Chunk]):
    """Yields one `Chunk` a step, for the rank and the loader worker that it runs in.

    `open_shard` gives the bytes of shards, by default from the store; loader workers get a pickled copy of it.
    """

    def __init__(
        self,
        manifest: Manifest,
        cutter: Cutter,
        order: plan.Order,
        passes: Passes,
        rank: int,
        ranks: int,
        open_shard: OpenShard | None = None,
    ) -> None:
        self.manifest, self.cutter, self.order, self.passes = manifest, cutter, order, passes
        self.rank, self.ranks, self.open_shard = rank, ranks, open_shard

    def __iter__(self) -> Iterator[Chunk]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        consumer, consumers = self.rank + self.ranks * worker, self.ranks * workers
        first_step = self.passes.first_step
        for epoch in range(self.passes.first_epoch, self.passes.epochs):
            try:
                yield from self._epoch(epoch, first_step, consumer, consumers)
            except UserError as error:
                # A loader process can hand over only text without a traceback.
                yield Chunk(epoch, -1, [], [], torch.empty(0), torch.empty(0), error=str(error))
                return
            first_step = 0

    def _epoch(self, epoch: int, first_step: int, consumer: int, consumers: int) -> Iterator[Chunk]:
        samples, lanes, batch = self.manifest.samples, self.order.lanes, self.passes.global_batch
        step_in_lane = plan.readers_per_lane(consumers, lanes)
        start = first_step * batch
        readers = {
            lane: iter(
                LaneReader(
                    self.manifest,
                    self.order,
                    epoch,
                    lane,
                    plan.first_position(start, lane, consumer, consumers, lanes),
                    step_in_lane,
                    self.open_shard,
                )
            )
            for lane in plan.lanes_of(consumer, consumers, lanes)
        }
        for step in range(first_step, self.passes.steps(samples)):
            stop = min((step + 1) * batch, samples)
            numbers = plan.numbers(step * batch, stop, consumer, consumers)
            yield self._chunk(
                epoch, step, [(number, checked(next(readers[number % lanes]))) for number in numbers]
            )

    def _chunk(self, epoch: int, step: int, samples: list[tuple[int, Sample]]) -> Chunk:
        clips = empty_clips(len(samples), self.cutter.num_frames, self.cutter.size)
        labels = torch.empty(len(samples), dtype=torch.int64)
        for i, (number, sample) in enumerate(samples):
            rng = plan.augmentation_rng(self.order.seed, epoch, number)
            label = self.cutter(sample, rng, clips[i])
            labels[i] = -1 if label is None else label
        numbers = [number for number, _ in samples]
        return Chunk(epoch, step, numbers, [sample.row.key for _, sample in samples], labels, clips)


def empty_clips(clips: int, frames: int, size: int, pin: bool = False) -> Tensor:
    """Unfilled uint8 (clips, frames, 3, size, size) with each frame's pixels interleaved in memory."""
    shape = (clips, frames, size, size, 3)
    return torch.empty(shape, dtype=torch.uint8, pin_memory=pin).permute(0, 1, 4, 2, 3)

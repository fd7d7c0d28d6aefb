"""Plan and shards to decoded clips: what one consumer (a worker of a rank) adds to each global batch."""

import functools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.data.batch import Batch, Failure, Seconds
from pipeline.data.corrupt import Substitutes
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.lanes import Lanes, allow_open_files
from pipeline.data.samples import DamagedError, Sample, Span, checked
from pipeline.data.shards import KeptSidecars, Shards, StoredShards
from pipeline.data.shared import shared_bytes
from pipeline.order import plan
from sharding.errors import UnreachableError, UserError
from sharding.format.manifest import Manifest
from sharding.workers.memory import keep_freed_blocks

_OPENERS = 8
"""Threads that open lanes."""
_OPENED_AHEAD = 3
"""Steps before an epoch's end at which the next one's lanes are opened, to hide what a far store takes to answer."""


class Cutter(Protocol):
    """How a sample becomes a clip."""

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """Of what it makes of `sample`: (frames, 3, height, width), or (views, frames, 3, height, width)."""
        ...

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Decode into `out`, uint8 of that shape with channels-last memory; returns the label."""
        ...


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

    def all_steps(self, samples: int) -> int:
        """Steps of all these passes."""
        return self.steps(samples) * (self.epochs - self.first_epoch) - self.first_step


class ClipStream(IterableDataset[Batch | Failure]):
    """Yields one `Batch` a step, for the rank and the loader process that it runs in; a `Failure` ends it early.

    `shards` says where the bytes come from, by default the store. Of an epoch's samples `allowed` may be damaged, and
    are replaced (see `pipeline.data.corrupt`); by default the first one ends the stream.
    """

    def __init__(
        self,
        manifest: Manifest,
        cutter: Cutter,
        order: plan.Order,
        passes: Passes,
        rank: int,
        ranks: int,
        shards: Shards | None = None,
        allowed: int | None = None,
    ) -> None:
        self.manifest, self.cutter, self.order, self.passes = manifest, cutter, order, passes
        self.rank, self.ranks = rank, ranks
        self.shards, self.allowed = shards or StoredShards(manifest), allowed

    def __iter__(self) -> Iterator[Batch | Failure]:
        # A batch's memory is faulted in page by page otherwise, for each batch: a twentieth of the time.
        keep_freed_blocks()
        allow_open_files()
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        threads = ThreadPoolExecutor(_OPENERS)
        try:
            yield from self._parts(self.rank + self.ranks * worker, self.ranks * workers, threads)
        except UserError as error:
            yield Failure(str(error), isinstance(error, UnreachableError))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _parts(self, consumer: int, consumers: int, threads: Executor) -> Iterator[Batch]:
        samples, passes = self.manifest.samples, self.passes
        steps = passes.steps(samples)
        shards = KeptSidecars(self.shards, plan.lanes_a_consumer(consumers, self.order.lanes))
        coming = self._lanes(passes.first_epoch, passes.first_step, consumer, consumers, shards, threads)
        for epoch in range(passes.first_epoch, passes.epochs):
            lanes, substitutes = coming, Substitutes(self.allowed)
            first_step = passes.first_step if epoch == passes.first_epoch else 0
            for step in range(first_step, steps):
                if step == max(first_step, steps - _OPENED_AHEAD) and epoch + 1 < passes.epochs:
                    coming = self._lanes(epoch + 1, 0, consumer, consumers, shards, threads)
                start = step * passes.global_batch
                stop = min(start + passes.global_batch, samples)
                numbers = plan.numbers(start, stop, consumer, consumers)
                yield self._part(epoch, step, list(numbers), lanes, substitutes)
            if self.shards.reads_to_the_end:
                lanes.finish()

    def _lanes(
        self, epoch: int, step: int, consumer: int, consumers: int, shards: Shards, threads: Executor
    ) -> Lanes:
        """The lanes that `consumer` reads, each from its first sample of global batch `step` or a later one on."""
        lanes, start = self.order.lanes, step * self.passes.global_batch
        stride = plan.readers_per_lane(consumers, lanes)
        in_common = epoch_of(self.manifest, self.order, epoch)

        def reader(lane: int) -> LaneReader:
            first = plan.first_position(start, lane, consumer, consumers, lanes)
            return LaneReader(self.manifest, in_common, lane, first, stride, shards)

        return Lanes(plan.lanes_of(consumer, consumers, lanes), reader, threads)

    def _part(
        self, epoch: int, step: int, numbers: list[int], lanes: Lanes, substitutes: Substitutes
    ) -> Batch:
        # All that is handed over is shared here, where a failure can be told: the queue's thread would lose the batch.
        shared = get_worker_info() is not None
        room = _Room(len(numbers), shared)
        labels = torch.empty(len(numbers), dtype=torch.int64)
        if shared and numbers:
            labels = shared_bytes(labels.nbytes).view(torch.int64)
        keys, replaced = [], []
        began, read_s = time.perf_counter(), 0.0
        for place, number in enumerate(numbers):
            lane = number % self.order.lanes
            asked = time.perf_counter()
            span = lanes.next(lane)
            read_s += time.perf_counter() - asked
            cut = functools.partial(self._cut, epoch, number, room, place)
            try:
                label = cut(span)
            except DamagedError as damage:
                label = substitutes.use(lanes.reader(lane), number // self.order.lanes, damage, cut)
                replaced.append(span.row.key)
            labels[place] = -1 if label is None else label
            keys.append(span.row.key)
        seconds = Seconds(read_s, time.perf_counter() - began - read_s)
        return Batch(epoch, step, numbers, keys, labels, room.clips, replaced, seconds=seconds)

    def _cut(self, epoch: int, number: int, room: "_Room", place: int, span: Span) -> int | None:
        """Fill `place` in `room` for sample `number` of the epoch; returns its label."""
        rng = plan.augmentation_rng(self.order.seed, epoch, number)
        sample = checked(span)
        return self.cutter(sample, rng, room.clip(place, self.cutter.shape(sample)))


class _Room:
    """The memory of a part's clips, made when the first one's shape is known.

    All of a part have that shape: where it follows from the video (whole frames in evaluation), a part is one video.
    """

    def __init__(self, count: int, shared: bool) -> None:
        self._count, self._shared = count, shared
        self.clips = torch.empty(0)

    def clip(self, place: int, shape: Sequence[int]) -> Tensor:
        """The memory of clip number `place`, to be filled."""
        if not len(self.clips):
            self.clips = empty_clips(self._count, shape, shared=self._shared)
        return self.clips[place]


def empty_clips(clips: int, shape: Sequence[int], pin: bool = False, shared: bool = False) -> Tensor:
    """Unfilled uint8 (clips, *shape), each frame's pixels interleaved in memory; `shape` ends in 3, height, width.

    `shared` memory can be handed to another process as it is. Raises `UserError` where there is no room for it.
    """
    *outer, channels, height, width = shape
    size = (clips, *outer, height, width, channels)
    memory = (
        shared_bytes(prod(size)).view(size)
        if shared
        else torch.empty(size, dtype=torch.uint8, pin_memory=pin)
    )
    return memory.movedim(-1, -3)

"""Plan and shards to decoded clips: what one consumer (a worker of a rank) adds to each global batch."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.data.batch import Batch, Failure, Seconds
from pipeline.data.corrupt import Substitutes
from pipeline.data.lane_reader import LaneReader, Source, epoch_of
from pipeline.data.lanes import Lanes, allow_open_files
from pipeline.data.samples import DamagedError, Sample, Span, checked
from pipeline.data.shards import KeptSidecars, Shards, StoredShards
from pipeline.data.splits import Mixed
from pipeline.labels import tensors
from pipeline.labels.tensors import Label
from pipeline.order import plan
from pipeline.order.position import epoch_samples
from sharding.errors import UnreachableError, UserError
from sharding.format.manifest import Manifest
from sharding.workers.memory import keep_freed_blocks

_OPENERS = 8
"""Threads that open lanes."""
_OPENED_AHEAD = 3
"""Steps before an epoch's end at which the next one's lanes are opened, to hide what a far store takes to answer."""


Memory = Callable[[int, Sequence[int]], Tensor]
"""Makes room for all clips of a rank's batch, as `empty_clips` does for clips and shape."""


class Cutter(Protocol):
    """How a sample becomes a clip."""

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """Of what it makes of `sample`: (frames, channels, height, width), or one such for each of its views."""
        ...

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
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


class ClipStream:
    """Yields one `Batch` a step of a rank; a `Failure` ends it early.

    `shards` says where the bytes come from, by default the store. Of an epoch's samples `allowed` may be damaged, and
    are replaced (see `pipeline.data.corrupt`); by default the first one ends the stream. `mixed` are further sets, as
    `pipeline.order.mixture` has them.
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
        mixed: Sequence[Mixed] = (),
    ) -> None:
        self.manifest, self.cutter, self.order, self.passes = manifest, cutter, order, passes
        self.rank, self.ranks = rank, ranks
        self.shards, self.allowed = shards or StoredShards(manifest), allowed
        self.mixed = tuple(mixed)

    @property
    def samples(self) -> int:
        """Of an epoch."""
        return epoch_samples(self.manifest, self.mixed)

    @property
    def sources(self) -> list[Source]:
        """Where the samples come from: the set, and those that are mixed with it."""
        mixed = (Source(one.split, one.shards or StoredShards(one.split)) for one in self.mixed)
        return [Source(self.manifest, self.shards), *mixed]

    def __iter__(self) -> Iterator[Batch | Failure]:
        return self.parts(0, 1, empty_clips)

    def parts(self, worker: int, workers: int, memory: Memory) -> Iterator[Batch | Failure]:
        """What loader process `worker` of `workers` adds to each batch, its clips at their places in `memory`.

        The processes of a step are given the same memory.
        """
        # A batch's memory is faulted in page by page otherwise, for each batch: a twentieth of the time.
        keep_freed_blocks()
        allow_open_files()
        threads = ThreadPoolExecutor(_OPENERS)
        try:
            yield from self._parts(worker, workers, memory, threads)
        except UserError as error:
            yield Failure(str(error), isinstance(error, UnreachableError))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _parts(self, worker: int, workers: int, memory: Memory, threads: Executor) -> Iterator[Batch]:
        consumer, consumers = self.rank + self.ranks * worker, self.ranks * workers
        samples, passes = self.samples, self.passes
        steps = passes.steps(samples)
        here = plan.lanes_a_consumer(consumers, self.order.lanes)
        sources = [Source(split, KeptSidecars(shards, here)) for split, shards in self.sources]
        coming = self._lanes(passes.first_epoch, passes.first_step, consumer, consumers, sources, threads)
        for epoch in range(passes.first_epoch, passes.epochs):
            lanes, substitutes = coming, Substitutes(self.allowed)
            first_step = passes.first_step if epoch == passes.first_epoch else 0
            for step in range(first_step, steps):
                if step == max(first_step, steps - _OPENED_AHEAD) and epoch + 1 < passes.epochs:
                    coming = self._lanes(epoch + 1, 0, consumer, consumers, sources, threads)
                start = step * passes.global_batch
                stop = min(start + passes.global_batch, samples)
                room = _Room(plan.numbers(start, stop, self.rank, self.ranks), workers, memory)
                numbers = plan.numbers(start, stop, consumer, consumers)
                yield self._part(epoch, step, numbers, lanes, substitutes, room)
            if any(shards.reads_to_the_end for _, shards in sources):
                lanes.finish()

    def _lanes(
        self,
        epoch: int,
        step: int,
        consumer: int,
        consumers: int,
        sources: Sequence[Source],
        threads: Executor,
    ) -> Lanes:
        """The lanes that `consumer` reads, each from its first sample of global batch `step` or a later one on."""
        lanes, start = self.order.lanes, step * self.passes.global_batch
        stride = plan.readers_per_lane(consumers, lanes)
        (split, shards), *others = sources
        mixed = [one.split for one in self.mixed]
        in_common = epoch_of(split, self.order, epoch, mixed, [one.samples for one in self.mixed])

        def reader(lane: int) -> LaneReader:
            first = plan.first_position(start, lane, consumer, consumers, lanes)
            return LaneReader(split, in_common, lane, first, stride, shards, others)

        return Lanes(plan.lanes_of(consumer, consumers, lanes), reader, threads)

    def _part(
        self, epoch: int, step: int, numbers: range, lanes: Lanes, substitutes: Substitutes, room: "_Room"
    ) -> Batch:
        several = len(self.manifest.classes) if self.manifest.several_labels else None
        labels = tensors.empty(len(numbers), several)
        keys, replaced = [], []
        began, read_s = time.perf_counter(), 0.0
        # Made together, while the processor has at hand what makes them: between two clips each takes ten times as
        # long, a fiftieth of a clip's time.
        rngs = [self._rng(epoch, number) for number in numbers]
        for place, (number, rng) in enumerate(zip(numbers, rngs, strict=True)):
            lane = number % self.order.lanes
            asked = time.perf_counter()
            span = lanes.next(lane)
            read_s += time.perf_counter() - asked
            try:
                label = self._cut(number, room, rng, span)
            except DamagedError as damage:
                cut = functools.partial(self._cut_anew, epoch, number, room)
                label = substitutes.use(lanes.reader(lane), number // self.order.lanes, damage, cut)
                replaced.append(span.name)
            tensors.put(labels, place, label)
            keys.append(span.name)
        seconds = Seconds(read_s, time.perf_counter() - began - read_s)
        return Batch(epoch, step, list(numbers), keys, labels, room.part(numbers), replaced, seconds=seconds)

    def _rng(self, epoch: int, number: int) -> np.random.Generator:
        return plan.augmentation_rng(self.order.seed, epoch, number)

    def _cut_anew(self, epoch: int, number: int, room: "_Room", span: Span) -> Label:
        """`_cut`, whatever was drawn for the sample before."""
        return self._cut(number, room, self._rng(epoch, number), span)

    def _cut(self, number: int, room: "_Room", rng: np.random.Generator, span: Span) -> Label:
        """Fill the place of sample `number` of an epoch in `room`; returns its label."""
        sample = checked(span)
        if span.set:
            sample = self.mixed[span.set - 1].relabelled(sample)
        return self.cutter(sample, rng, room.clip(number, self.cutter.shape(sample)))


class _Room:
    """The memory of a rank's clips of a step, the samples `numbers`; made when the shape of the first one is known.

    All of a step have that shape: where it follows from the video (whole frames in evaluation), a step is one video.
    """

    def __init__(self, numbers: range, workers: int, memory: Memory) -> None:
        self._numbers, self._workers, self._memory = numbers, workers, memory
        self._clips = torch.empty(0)

    def clip(self, number: int, shape: Sequence[int]) -> Tensor:
        """The memory of sample `number`'s clip, to be filled."""
        if not len(self._clips):
            self._clips = self._memory(len(self._numbers), shape)
        return self._clips[self._numbers.index(number)]

    def part(self, numbers: range) -> Tensor:
        """The clips of `numbers`, those of one of the loader processes; (0,) where there are none."""
        return self._clips[self._numbers.index(numbers[0]) :: self._workers] if numbers else self._clips


def empty_clips(clips: int, shape: Sequence[int], pin: bool = False) -> Tensor:
    """Unfilled uint8 (clips, *shape), pixels interleaved in memory; `shape` ends in channels, height, width."""
    return clips_in(torch.empty(clips * prod(shape), dtype=torch.uint8, pin_memory=pin), clips, shape)


def clips_in(memory: Tensor, clips: int, shape: Sequence[int]) -> Tensor:
    """`memory`, uint8 (bytes,), as `empty_clips`."""
    *outer, channels, height, width = shape
    return memory.view(clips, *outer, height, width, channels).movedim(-1, -3)

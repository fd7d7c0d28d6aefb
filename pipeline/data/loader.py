"""Loader processes and whole batches: one `Batch` a step for a rank, decoded ahead of time."""

import functools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.batch import Batch, Failure, Seconds
from pipeline.data.stream import ClipStream, clips_in, empty_clips
from pipeline.handover import crew
from pipeline.handover.worker import Ended
from sharding import storage
from sharding.errors import UnreachableError, UserError


def batches(stream: ClipStream, workers: int, pin: bool = False) -> Generator[Batch, None, None]:
    """The batches of `stream`, decoded by `workers` processes (0: in this one), in pinned memory for `pin`.

    A batch may be kept: its memory is filled again when nothing is left of it. Streams of as many workers that are
    under way at a time, as an evaluation during training, share their processes, which end with the last of them.

    Raises the stream's `UserError`, or one that names a loader process that died: of this stream, or of another one
    that waits meanwhile. It never ends before the stream's last step.
    """
    steps = stream.passes.all_steps(stream.samples)
    done = 0
    with closing(_by_processes(stream, workers, steps, pin) if workers else _here(stream, pin)) as made:
        for batch in made:
            crew.check()
            yield batch
            done += 1
            del batch  # its memory is free, if it is nobody else's, before the next one is waited for
    if done < steps:
        raise UserError(
            f"{stream.manifest.root}: the loader ended after {done} of {steps} batches; a loader process lost the "
            "next one, and what it printed says why"
        )


def _here(stream: ClipStream, pin: bool) -> Generator[Batch, None, None]:
    for part in stream.parts(0, 1, partial(empty_clips, pin=pin)):
        yield _sound(part)


def _by_processes(stream: ClipStream, workers: int, steps: int, pin: bool) -> Generator[Batch, None, None]:
    with closing(crew.begin(_Job(stream), workers, _modules(stream), pin)) as work:
        for ahead in reversed(range(steps + 1)):  # at last their ends: they may have something left to read
            parts = {worker: _sound(part) for worker, part in work.step(ahead) if part != Ended()}
            if len(parts) < workers:
                return
            yield _assembled([parts[worker] for worker in range(workers)], work.memory)


def _modules(stream: ClipStream) -> list[str]:
    """What each loader process needs."""
    sources = stream.sources
    found = [type(part).__module__ for part in (stream, stream.cutter, *(shards for _, shards in sources))]
    places = {split.root for split, _ in sources}
    places.update(filter(None, (shard.at() for split, _ in sources for shard in split.shards)))
    found += [__name__, *{storage.module_of(place) for place in places}]
    return [name for name in found if name != "__main__"]


@dataclass(frozen=True)
class Part:
    """What a loader process says of its part of a batch, a `Batch` without clips; those are where they belong.

    `labels` as a `Batch`'s; `shape`: of one clip, () where there is none.
    """

    epoch: int
    step: int
    numbers: list[int]
    keys: list[str]
    labels: NDArray[Any]
    shape: tuple[int, ...]
    replaced: list[str]
    seconds: Seconds = field(default_factory=Seconds)


@dataclass(frozen=True)
class _Job:
    """A stream, for loader processes: see `pipeline.handover.worker.Job`."""

    stream: ClipStream

    def __call__(
        self, worker: int, workers: int, memory: Callable[[int], Tensor]
    ) -> Iterator[Part | Failure]:
        def room(clips: int, shape: Sequence[int]) -> Tensor:
            return clips_in(memory(clips * prod(shape)), clips, shape)

        for made in self.stream.parts(worker, workers, room):
            yield made if isinstance(made, Failure) else _told(made)


def _told(made: Batch) -> Part:
    shape = tuple(made.clips.shape[1:]) if made.numbers else ()
    labels = made.labels.numpy()
    return Part(made.epoch, made.step, made.numbers, made.keys, labels, shape, made.replaced, made.seconds)


def _assembled(parts: list[Part], memory: Callable[[int], Tensor]) -> Batch:
    """A rank's batch, in order of the samples' numbers; its clips lie in `memory` already."""
    began = time.perf_counter()
    steps = {(part.epoch, part.step) for part in parts}
    if len(steps) != 1:
        raise UserError(
            f"a part of step {min(steps)} (epoch, step) is missing: a loader process lost it, and what it printed "
            "says why"
        )
    first, filled = parts[0], [part for part in parts if part.numbers]
    replaced = [key for part in parts for key in part.replaced]
    if not filled:
        return Batch(first.epoch, first.step, [], [], torch.from_numpy(first.labels), memory(0), replaced)
    shapes = {part.shape for part in filled}
    if len(shapes) != 1:
        raise RuntimeError(f"the clips of one step have several shapes: {sorted(shapes)}")
    (shape,) = shapes
    numbers = np.concatenate([part.numbers for part in filled])
    keys = [key for part in filled for key in part.keys]
    order = numbers.argsort()
    return Batch(
        first.epoch,
        first.step,
        numbers[order].tolist(),
        [keys[i] for i in order.tolist()],
        torch.from_numpy(np.concatenate([part.labels for part in filled])[order]),
        clips_in(memory(len(numbers) * prod(shape)), len(numbers), shape),
        replaced,
        seconds=functools.reduce(Seconds.plus, (part.seconds for part in parts)).handed_over(began),
    )


def _sound(part: Any) -> Any:
    if isinstance(part, Failure):
        raise (UnreachableError if part.unreachable else UserError)(part.reason)
    return part

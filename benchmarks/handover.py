"""What handing a batch over costs the training process: the ring of shared batches, beside parts that are copied.

    python -m benchmarks.handover > benchmarks/results/handover.md

Loader processes only write to memory here, so that nothing but the hand-over is left. "Copied" is the way until
November 2026, kept in this file: each process has its part in fresh shared memory, torch's `DataLoader` brings it over,
and the training process copies it into the batch. The sides take turns in one program; time is the main thread's own,
since the processes, and other programs, share the cores.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks.machine import cpu
from pipeline.data.batch import Batch, Failure
from pipeline.data.loader import batches
from pipeline.data.samples import Sample
from pipeline.data.stream import ClipStream, Memory, Passes, empty_clips
from pipeline.handover.shared import PREFETCHED_STEPS
from pipeline.order import plan
from sharding.format.manifest import Manifest
from sharding.workers.memory import keep_freed_blocks
from tests import shards

SHAPE, BATCH = (16, 3, 224, 224), 64
WORKERS, TURNS, WARMING, STEPS = (2, 8, 12), 3, 6, 16
CLIP_BYTES = prod(SHAPE)


class NoCutter:
    """Is never asked."""

    def shape(self, sample: Sample) -> tuple[int, ...]:
        raise NotImplementedError

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        raise NotImplementedError


class Written(ClipStream):
    """A stream that reads and decodes nothing: every byte of a clip is its number."""

    def parts(self, worker: int, workers: int, memory: Memory) -> Iterator[Batch | Failure]:
        keep_freed_blocks()
        for step in itertools.count():
            clips = memory(BATCH, SHAPE)[worker::workers]
            yield part(step, worker, workers, clips)


def part(step: int, worker: int, workers: int, clips: Tensor) -> Batch:
    """A process's part of a step, once its clips are written."""
    numbers = list(range(BATCH * step + worker, BATCH * (step + 1), workers))
    for clip, number in zip(clips, numbers, strict=True):
        clip.fill_(number % 256)
    return Batch(0, step, numbers, [f"clip-{n}" for n in numbers], torch.tensor(numbers), clips)


def ring(split: Manifest, workers: int) -> Iterator[Batch]:
    """The product's way."""
    stream = Written(split, NoCutter(), plan.Order(0, workers, 1), Passes(1, epochs=1 << 30), 0, 1)
    return batches(stream, workers)


class CopiedParts(IterableDataset[Batch]):
    """What the loader processes did before: a part in shared memory of its own."""

    def __iter__(self) -> Iterator[Batch]:
        keep_freed_blocks()
        info = get_worker_info()
        assert info
        for step in itertools.count():
            numbers = range(BATCH * step + info.id, BATCH * (step + 1), info.num_workers)
            yield part(step, info.id, info.num_workers, shared_clips(len(numbers)))


def shared_clips(count: int) -> Tensor:
    """Unfilled clips in fresh shared memory."""
    storage = torch.UntypedStorage._new_shared(count * CLIP_BYTES)
    size = (count, SHAPE[0], *SHAPE[2:], SHAPE[1])
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(size).movedim(-1, -3)


def copied(workers: int, again: Tensor | None) -> Iterator[Batch]:
    """The way before, into memory that is fresh, or used `again`, as pinned memory is."""
    loader = DataLoader(
        CopiedParts(),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCHED_STEPS,
        multiprocessing_context=multiprocessing.get_context("forkserver"),
    )
    made = iter(loader)
    while parts := list(itertools.islice(made, workers)):
        items = sorted(
            (number, p, i) for p, some in enumerate(parts) for i, number in enumerate(some.numbers)
        )
        clips = empty_clips(len(items), SHAPE) if again is None else again
        for slot, (_, p, i) in enumerate(items):
            clips[slot].copy_(parts[p].clips[i])
        numbers = [number for number, _, _ in items]
        keys = [parts[p].keys[i] for _, p, i in items]
        labels = torch.tensor([int(parts[p].labels[i]) for _, p, i in items])
        yield Batch(0, parts[0].step, numbers, keys, labels, clips)


@dataclass(frozen=True)
class Cost:
    """Of one turn: the main thread's CPU seconds a batch, and batches a second."""

    thread_s: float
    rate: float


def measure(made: Iterator[Batch]) -> Cost:
    """Take batches, look at a byte of each clip, and drop them."""
    spent, begin = 0.0, 0.0
    for step in range(WARMING + STEPS):
        if step == WARMING:
            spent, begin = 0.0, time.perf_counter()
        start = time.thread_time()
        batch = next(made)
        spent += time.thread_time() - start
        assert batch.numbers == batch.labels.tolist() == list(range(BATCH * step, BATCH * (step + 1)))
        assert batch.clips[:, -1, -1, -1, -1].tolist() == [number % 256 for number in batch.numbers]
        start = time.thread_time()
        del batch
        spent += time.thread_time() - start
    made.close()  # type: ignore[attr-defined]
    return Cost(spent / STEPS, STEPS / (time.perf_counter() - begin))


def copying_s() -> float:
    """Seconds of CPU for one batch from warm memory to warm memory, the least that a copy costs."""
    here, there = (torch.zeros(BATCH * CLIP_BYTES, dtype=torch.uint8) for _ in range(2))
    taken = []
    for _ in range(7):
        start = time.thread_time()
        there.copy_(here)
        taken.append(time.thread_time() - start)
    return statistics.median(taken)


def main() -> None:
    """The command line."""
    argparse.ArgumentParser(prog="python -m benchmarks.handover").parse_args()
    load = os.getloadavg()[0]
    keep_freed_blocks()
    torch.set_num_threads(1)
    copy = copying_s()
    again = empty_clips(BATCH, SHAPE).fill_(0)
    print(
        f"# Hand-over: what a batch costs the training process\n\n{date.today()}, {os.cpu_count()} cores "
        f"({cpu()}), no GPU, torch {torch.__version__}; `python -m benchmarks.handover`. Load average "
        f"before it: {load:.1f}.\n\nf8x2 at 224: {BATCH} clips of 16 frames, {BATCH * CLIP_BYTES / 1e6:.0f} MB. "
        f"Loader processes only write to memory. Medians of {TURNS} interleaved turns of {STEPS} batches, behind "
        f"{WARMING} that warm up. CPU time is the main thread's. A batch copied from warm memory to warm memory takes "
        f"{1000 * copy:.1f} ms ({BATCH / copy:,.0f} clips/s).\n\n"
        "| processes | way | ms of CPU a batch, lowest to highest | ceiling, clips/s of the main thread | all, clips/s "
        "through these cores |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="handover-benchmark.") as folder:
        split = shards.make(folder, [1])
        for workers in WORKERS:
            ways: dict[str, Callable[[], Iterator[Batch]]] = {
                "ring": lambda: ring(split, workers),  # noqa: B023
                "copied, memory used again": lambda: copied(workers, again),  # noqa: B023
                "copied, fresh memory": lambda: copied(workers, None),  # noqa: B023
            }
            costs: dict[str, list[Cost]] = {name: [] for name in ways}
            for _ in range(TURNS):
                for name, way in ways.items():
                    costs[name].append(measure(way()))
            for name, found in costs.items():
                taken = sorted(1000 * cost.thread_s for cost in found)
                middle = statistics.median(taken)
                print(
                    f"| {workers} | {name} | {middle:.2f}, {taken[0]:.2f} to {taken[-1]:.2f} "
                    f"| {1000 * BATCH / middle:,.0f} | {statistics.median(BATCH * cost.rate for cost in found):,.0f} |"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()

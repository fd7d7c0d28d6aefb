"""How well the order of samples is mixed, beside a uniform shuffle and another library's rule.

    python -m benchmarks.shuffle > benchmarks/results/shuffle.md

A data set of Something-Something v2's size. Only orders are made, no data: minutes on one core. Shards are sorted by
class here, which no build does (it puts videos into shards by a hash of their keys): the worst case for a shuffle.
"""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.order import plan

SAMPLES, SHARD, CLASSES = 168_913, 128, 174
LARGEST, SMALLEST = 30, 1  # classes' sizes fall evenly between the two
EPOCHS = 3
SMALL_SETS, SMALL_BATCHES, SMALL_EPOCHS = (180, 1000, 5000, 16_000), (8, 16, 32, 64), 8

Numbers = NDArray[np.int64]
Shuffle = Callable[[int], Numbers]
"""Which sample is the n-th of an epoch, int64 (samples,)."""


@dataclass(frozen=True)
class Side:
    """A way to mix, and how many samples a run holds for it, in words."""

    name: str
    held: str
    order: Shuffle
    batch: int = 64


@dataclass(frozen=True)
class Quality:
    """Of an order, over its batches: shards in one; pairs from one shard, and pairs that met in the epoch before, both
    as a multiple of a uniform shuffle's; the entropy of a batch's classes in bits."""

    shards: float
    mates: float
    again: float
    entropy: float


def planned(lanes: int, window: int) -> Shuffle:
    """This project's, with so many lanes and a window of each."""
    return lambda epoch: plan.epoch_order(shard_sizes(), plan.Order(0, lanes, window), epoch)


def uniform(epoch: int) -> Numbers:
    """Any sample at any place."""
    return np.random.default_rng([1, epoch]).permutation(SAMPLES)


def expanded(block: int) -> Shuffle:
    """The rule that mosaicml-streaming's documentation gives for its `py1e`, on one canonical node.

    Shards come in a random order. Each one's samples get random places in a range of `block` samples around the place
    that the shard would have, as far as the epoch goes, and are used in the order of their places.
    """

    def order(epoch: int) -> Numbers:
        rng = np.random.default_rng([2, epoch])
        sizes = shard_sizes()
        shards = rng.permutation(len(sizes))
        ends = np.cumsum(sizes[shards])
        middle = np.repeat(ends - sizes[shards] / 2, sizes[shards])
        half = np.maximum(block, np.repeat(sizes[shards], sizes[shards])) / 2
        low, high = np.maximum(middle - half, 0), np.minimum(middle + half, SAMPLES)
        first = np.cumsum(sizes) - sizes
        samples = np.concatenate([np.arange(first[shard], first[shard] + sizes[shard]) for shard in shards])
        return samples[np.argsort(rng.uniform(low, high), kind="stable")]

    return order


def shard_sizes(samples: int = SAMPLES) -> Numbers:
    """Samples of each shard."""
    sizes = np.full(-(-samples // SHARD), SHARD)
    sizes[-1] = samples - SHARD * (len(sizes) - 1)
    return sizes


def classes() -> Numbers:
    """The class of each sample, in the order in which they lie in the shards."""
    shares = np.linspace(LARGEST, SMALLEST, CLASSES).cumsum()
    return np.searchsorted(shares / shares[-1], (np.arange(SAMPLES) + 0.5) / SAMPLES)


def quality(side: Side) -> Quality:
    """The mean over `EPOCHS` epochs and all whole batches."""
    found, before = [], None
    for epoch in range(EPOCHS + 1):
        used = SAMPLES // side.batch * side.batch
        batches = side.order(epoch)[:used].reshape(-1, side.batch)
        batch_of = np.full(SAMPLES, -1)
        batch_of[batches] = np.arange(len(batches))[:, None]
        if before is not None:
            found.append(_of_epoch(batches, before))
        before = batch_of
    return Quality(*(float(np.mean(column)) for column in zip(*found, strict=True)))


def _of_epoch(batches: Numbers, before: Numbers) -> tuple[float, float, float, float]:
    batch = batches.shape[1]
    pairs = len(batches) * batch * (batch - 1) / 2
    in_shard = _groups(batches // SHARD)
    by_class = _groups(classes()[batches])
    met = _groups(before[batches])
    together = (SHARD - 1) / (SAMPLES - 1)
    return (
        sum(len(sizes) for sizes in in_shard) / len(batches),
        sum(_pairs(sizes) for sizes in in_shard) / pairs / together,
        sum(_pairs(sizes) for sizes in met) / pairs / ((batch - 1) / (SAMPLES - 1)),
        float(np.mean([-(sizes / batch) @ np.log2(sizes / batch) for sizes in by_class])),
    )


def again(samples: int, batch: int, lanes: int) -> float:
    """How often two of a batch of a small set meet in the next epoch's too, as a multiple of a uniform shuffle's."""
    order = plan.Order(1, lanes, plan.lane_window(1024, lanes))
    count, found, before = samples // batch, [], None
    for epoch in range(SMALL_EPOCHS):
        taken = plan.epoch_order(shard_sizes(samples), order, epoch)[: count * batch]
        batches = taken.reshape(count, batch)
        if before is not None:
            met = sum(_pairs(sizes) for sizes in _groups(before[batches]))
            found.append(met / (count * batch * (batch - 1) / 2) / ((batch - 1) / (samples - 1)))
        before = np.full(samples, -1)
        before[batches] = np.arange(count)[:, None]
    return float(np.mean(found))


def _groups(rows: Numbers) -> list[Numbers]:
    """How often each value of a row is in it; -1, of no batch, counts as a value of its own each time."""
    return [
        np.concatenate([np.unique(row[row >= 0], return_counts=True)[1], np.ones((row < 0).sum(), np.int64)])
        for row in rows
    ]


def _pairs(sizes: Numbers) -> float:
    return float((sizes * (sizes - 1) / 2).sum())


def sides() -> list[Side]:
    """What is compared."""
    found = [
        Side("uniform shuffle", "all", uniform),
        Side("py1e's rule, block of 2^18 (its default)", "shards on disk", expanded(1 << 18)),
        Side("py1e's rule, block of 2^14", "shards on disk", expanded(1 << 14)),
        Side("before: 1 rank, no workers (1 lane of window 256)", "256", planned(1, 256)),
        Side("before: 1 rank x 4 workers (4 lanes of 256)", "1,024", planned(4, 256)),
        Side("before: 8 ranks x 4 workers (32 lanes of 256)", "8,192", planned(32, 256)),
    ]
    for ranks, workers in ((1, 4), (8, 8), (2, 11)):
        lanes = plan.default_lanes(ranks * workers, 64, SAMPLES)
        window = plan.lane_window(1024, lanes)
        name = f"**now: {ranks} rank{'s' * (ranks > 1)} x {workers} workers ({lanes} lanes of {window})**"
        found.append(Side(name, f"{lanes * window:,}", planned(lanes, window)))
    found += [
        Side("uniform shuffle, batch of 512", "all", uniform, 512),
        Side("py1e's rule, block of 2^18, batch of 512", "shards on disk", expanded(1 << 18), 512),
        Side("before: 8 ranks x 12 workers, batch of 512 (96 lanes of 256)", "24,576", planned(96, 256), 512),
    ]
    lanes = plan.default_lanes(96, 512, SAMPLES)
    window = plan.lane_window(1024, lanes)
    name = f"**now: 8 ranks x 12 workers, batch of 512 ({lanes} lanes of {window})**"
    found.append(Side(name, f"{lanes * window:,}", planned(lanes, window), 512))
    return found


def main() -> None:
    """Print the results file."""
    print(f"""# Shuffling: how well the order of samples is mixed

{date.today()}, Python {platform.python_version()}, numpy {np.__version__}; `python -m benchmarks.shuffle`.
The figures are exact counts of seeded orders; no time is measured.

{SAMPLES:,} samples in {len(shard_sizes()):,} shards of {SHARD}, batches of 64 unless said otherwise. Means over all
whole batches of {EPOCHS} epochs. "x uniform": as a multiple of what a uniform shuffle is expected to have. {CLASSES}
classes, whose sizes fall evenly from {LARGEST} to {SMALLEST}, lie in the shards class by class: the worst case. (A
build puts videos into shards by a hash of their keys.) With as many lanes as a batch has samples hardly two come from
one shard, so that some figures are better than the uniform shuffle's.

| | samples held | shards a batch | shard mates meet, x uniform | a pair meets again next epoch, x uniform \
| entropy of a batch's classes, bits |
|---|---|---|---|---|---|""")
    for side in sides():
        q = quality(side)
        print(
            f"| {side.name} | {side.held} | {q.shards:.1f} | {q.mates:.2f} | {q.again:.2f} | {q.entropy:.3f} |",
            flush=True,
        )
        print(side.name, file=sys.stderr)
    print("""
## Small sets

How often a pair meets again next epoch, x uniform, in shards of 128; one GPU with 4 workers. 64 lanes are short there,
and a small batch never reaches most of them: the same samples are together every time. So a set of less than 16,384
samples has by default as many lanes as a batch has samples.

| samples | batch | 64 lanes | by default | lanes |
|---|---|---|---|---|""")
    for samples in SMALL_SETS:
        for batch in SMALL_BATCHES:
            lanes = plan.default_lanes(4, batch, samples)
            figures = f"{again(samples, batch, 64):.1f} | {again(samples, batch, lanes):.1f}"
            print(f"| {samples:,} | {batch} | {figures} | {lanes} |")


if __name__ == "__main__":
    main()

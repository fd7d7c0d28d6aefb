"""What a plan costs at a given scale, on paper; `pipeline.plan` is the program.

All figures follow from the plan's own functions for epoch 0 and shards of equal size (but for the last one); none of
them needs a shard, and memory goes with the shards and lanes, not with the samples.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.order import plan
from pipeline.order.plan import Indices, Order


@dataclass(frozen=True)
class Scale:
    """A data set and the job that reads it; `order` holds the lanes, the window and the seed."""

    samples: int
    samples_per_shard: int
    bytes_per_sample: int
    ranks: int
    workers: int
    global_batch: int
    order: Order

    @property
    def consumers(self) -> int:
        """Loader workers of all ranks."""
        return self.ranks * self.workers

    @property
    def shard_samples(self) -> Indices:
        """Samples of each shard, int64 (shards,)."""
        sizes = np.full(-(-self.samples // self.samples_per_shard), self.samples_per_shard)
        sizes[-1] = self.samples - self.samples_per_shard * (len(sizes) - 1)
        return sizes


@dataclass(frozen=True)
class Load:
    """What each consumer has to do in an epoch: int64 (consumers,) each, in order of consumer.

    `shards` counts openings: a shard that a consumer meets in two lanes counts twice. `samples` are those that pass
    through its hands; where several consumers share a lane, each of them reads all of it. `first_batch` are the
    samples that it reads for its part of the first global batch (at most, where consumers share lanes).
    """

    lanes: Indices
    samples: Indices
    shards: Indices
    window: Indices
    first_batch: Indices


def load_of(scale: Scale) -> Load:
    """The load of every consumer."""
    lanes = scale.order.lanes
    starts = np.array([plan.lane_start(scale.samples, lanes, lane) for lane in range(lanes + 1)])
    lengths = np.diff(starts)
    per_lane = {
        "lanes": np.ones(lanes, np.int64),
        "samples": lengths,
        "shards": _shards_of_lanes(scale, starts),
        "window": np.minimum(lengths, scale.order.window),
        "first_batch": np.array([_read_for_first_batch(scale, lane) for lane in range(lanes)]),
    }
    # Consumers that leave the same remainder read the same lanes.
    distinct = scale.consumers // plan.readers_per_lane(scale.consumers, lanes)
    found = {
        name: np.array([values[plan.lanes_of(c, scale.consumers, lanes)].sum() for c in range(distinct)])
        for name, values in per_lane.items()
    }
    return Load(**{name: np.tile(sums, scale.consumers // distinct) for name, sums in found.items()})


def table(scale: Scale) -> list[str]:
    """The load in aligned lines."""
    load, lanes, size = load_of(scale), scale.order.lanes, scale.bytes_per_sample
    readers = plan.readers_per_lane(scale.consumers, lanes)
    longest, shortest = (plan.lane_length(scale.samples, lanes, lane) for lane in (0, lanes - 1))
    facts = [
        ("data set", f"{scale.samples:,} samples, {len(scale.shard_samples):,} shards, "
                     f"{_bytes(scale.samples * size)}"),
        ("consumers", f"{scale.consumers:,} ({scale.ranks:,} ranks x {scale.workers} workers)"),
        ("lanes", f"{lanes:,} of {shortest:,} to {longest:,} samples, window {scale.order.window}"),
        ("read in an epoch", f"{readers} times the data set"),
        ("steps in an epoch", f"{plan.steps_in_epoch(scale.samples, scale.global_batch):,} of "
                              f"{scale.global_batch:,} clips"),
        ("first batch, all workers", _bytes(int(load.first_batch.sum()) * size)),
    ]  # fmt: skip
    rows = [("a worker, in an epoch", "mean", "most", "most / mean")]
    for name, values, unit in (
        ("lanes (= open files)", load.lanes, 0),
        ("samples read", load.samples, 0),
        ("shards opened", load.shards, 0),
        ("bytes read", load.samples, size),
        ("window memory, at most", load.window, size),
        ("first-batch bytes", load.first_batch, size),
    ):
        mean, most = float(values.mean()), int(values.max())
        shown = (_bytes(mean * unit), _bytes(most * unit)) if unit else (f"{mean:,.1f}", f"{most:,}")
        rows.append((name, *shown, f"{most / mean:.3f}"))
    width = max(len(name) for name, *_ in [*facts, *rows])
    lines = [f"{name:<{width}}  {value}" for name, value in facts]
    return [*lines, "", *(f"{name:<{width}}  {a:>10}  {b:>10}  {c:>11}" for name, a, b, c in rows)]


def _shards_of_lanes(scale: Scale, starts: Indices) -> Indices:
    """How many shards each lane lies in: `len(plan.lane_pieces(...))` of all lanes at once."""
    permutation = plan.shard_permutation(len(scale.shard_samples), scale.order.seed, epoch=0)
    stops = np.cumsum(scale.shard_samples[permutation])
    first = np.searchsorted(stops, starts[:-1], side="right")
    last = np.searchsorted(stops, starts[1:] - 1, side="right")
    return np.where(np.diff(starts) > 0, last - first + 1, 0)


def _read_for_first_batch(scale: Scale, lane: int) -> int:
    """Samples at the start of a lane that are read until its part of the first global batch is there."""
    order = scale.order
    length = plan.lane_length(scale.samples, order.lanes, lane)
    used = min(plan.lane_length(scale.global_batch, order.lanes, lane), length)
    if not used:
        return 0
    # The first positions depend on no sample that lies a window behind them.
    return int(plan.lane_order(min(length, used + order.window), order, 0, lane)[:used].max()) + 1


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"

"""Which sample is the n-th of an epoch, and who reads it: pure functions over integers, no I/O.

The rule, for N samples in shards, L lanes and a given (seed, epoch):

1. The shards are permuted and their samples concatenated: the raw sequence. It is cut into L contiguous
   lanes; lane l holds ceil((N - l) / L) samples.
2. Inside a lane, sample i is ordered by the key i + window * u_i, u_i uniform in [0, 1): a sample moves less
   than `window` places, so a reader that goes through the lane once holds about `window` samples at most.
3. The n-th sample of the epoch is at position n div L of lane n mod L.

Global batch k holds the numbers n in [k * G, (k + 1) * G). Consumer c of C takes the n with n mod C = c, and
worker w of W of rank r of R is consumer r + R * w of C = R * W: so rank r takes n mod R = r, and the content
of a global batch depends on neither R nor W. Where C divides L, each lane has one reader.

`python -m pipeline.plan --samples 10000000 --ranks 1536 ...` says what that costs at any scale. Several shard sets in
one run: `pipeline.order.mixture`.
"""

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Random streams are told apart by their first word; see numpy.random.SeedSequence.
_SHARDS, _JITTER, _AUGMENT, _PIXELS, _MIXING = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Piece:
    """Samples `first` to `stop` - 1 of shard number `shard`, next to one another in its tar."""

    shard: int
    first: int
    stop: int


@dataclass(frozen=True)
class Order:
    """What the order of an epoch's samples depends on, beside the shards themselves and the epoch."""

    seed: int
    lanes: int
    window: int


LEAST_LANES, LANES_OF_BATCHES = 64, 512
"""How many lanes there are, at least, in a run that does not name them; and up to how many a larger batch makes it."""
SMALL = 256 * LEAST_LANES
"""Samples of an epoch below which that least number is too many: lanes that a batch does not reach, and so short, keep
the same few neighbours together from epoch to epoch (`benchmarks/shuffle.py`)."""


def default_lanes(consumers: int, global_batch: int, samples: int) -> int:
    """The least multiple of the consumers that is enough: each lane then has one reader.

    Enough is one lane for each sample of a batch, which then come from as many places of the raw sequence; `samples`
    are those of an epoch.
    """
    enough = max(1 if samples < SMALL else LEAST_LANES, min(global_batch, LANES_OF_BATCHES))
    return consumers * -(-enough // consumers)


def lane_window(window: int, lanes: int) -> int:
    """The share of each lane in a window of so many samples for the whole run; at least 1, which moves none."""
    return -(-window // lanes)


def steps_in_epoch(samples: int, global_batch: int, drop_last: bool = True) -> int:
    """Global batches in an epoch; the last, partial one counts unless `drop_last`."""
    return samples // global_batch if drop_last else -(-samples // global_batch)


def lane_start(samples: int, lanes: int, lane: int) -> int:
    """Where lane number `lane` begins in the raw sequence."""
    return lane * (samples // lanes) + min(lane, samples % lanes)


def lane_length(samples: int, lanes: int, lane: int) -> int:
    """Samples in lane number `lane`: ceil((samples - lane) / lanes), and 0 for a lane past the samples."""
    return max(0, -(-(samples - lane) // lanes))


def shard_permutation(shards: int, seed: int, epoch: int) -> Indices:
    """The shards in the order in which an epoch's raw sequence has them."""
    return np.random.default_rng([_SHARDS, seed, epoch]).permutation(shards)


@dataclass(frozen=True)
class Epoch:
    """The raw sequence of an epoch: what its lanes have in common, worked out once for all of them.

    `permutation`: the shards in order, int64 (shards,); `starts`, `stops`: where in the raw sequence each begins, and
    what comes behind it, int64 (shards,).
    """

    order: Order
    number: int
    permutation: Indices
    starts: Indices
    stops: Indices

    @property
    def samples(self) -> int:
        """Of all lanes."""
        return int(self.stops[-1])


def raw_sequence(shard_samples: Indices, order: Order, epoch: int) -> Epoch:
    """The raw sequence of epoch number `epoch`; `shard_samples`: the samples of each shard, int64 (shards,)."""
    permutation = shard_permutation(len(shard_samples), order.seed, epoch)
    stops = np.cumsum(shard_samples[permutation])
    return Epoch(order, epoch, permutation, stops - shard_samples[permutation], stops)


def lane_pieces(epoch: Epoch, lane: int) -> list[Piece]:
    """The parts of shards that make up a lane, in raw order."""
    start = lane_start(epoch.samples, epoch.order.lanes, lane)
    return pieces(epoch, start, start + lane_length(epoch.samples, epoch.order.lanes, lane))


def pieces(epoch: Epoch, start: int, stop: int) -> list[Piece]:
    """The parts of shards that make up the samples `start` to `stop` - 1 of a raw sequence, in raw order."""
    found = []
    for i in range(int(np.searchsorted(epoch.stops, start, side="right")), len(epoch.stops)):
        shard_start = int(epoch.starts[i])
        if shard_start >= stop:
            break
        first, last = max(start - shard_start, 0), min(stop, int(epoch.stops[i])) - shard_start
        if first < last:
            found.append(Piece(int(epoch.permutation[i]), first, last))
    return found


def cut(pieces: list[Piece], start: int, stop: int) -> list[tuple[int, Piece]]:
    """The parts of a lane's pieces with raw indices `start` to `stop` - 1, each after its first raw index."""
    parts = []
    raw = 0
    for piece in pieces:
        length = piece.stop - piece.first
        first, last = max(start - raw, 0), min(stop - raw, length)
        if first < last:
            parts.append((raw + first, Piece(piece.shard, piece.first + first, piece.first + last)))
        raw += length
    return parts


def lane_order(length: int, order: Order, epoch: int, lane: int) -> Indices:
    """The lane's samples in the order of use: entry p is the raw index, inside the lane, of position p."""
    jitter = np.random.default_rng([_JITTER, order.seed, epoch, lane]).random(length)
    return np.argsort(np.arange(length) + order.window * jitter, kind="stable")


def epoch_order(shard_samples: Indices, order: Order, epoch: int) -> Indices:
    """Which sample every number of an epoch is, int64 (samples,), as its place among the samples of all shards."""
    starts = np.cumsum(shard_samples) - shard_samples
    raw = np.concatenate(
        [np.arange(starts[i], starts[i] + shard_samples[i])
         for i in shard_permutation(len(shard_samples), order.seed, epoch)]
    )  # fmt: skip
    numbered = np.empty_like(raw)
    for lane in range(min(order.lanes, len(raw))):
        start, length = lane_start(len(raw), order.lanes, lane), lane_length(len(raw), order.lanes, lane)
        numbered[lane :: order.lanes] = raw[start : start + length][lane_order(length, order, epoch, lane)]
    return numbered


def numbers(start: int, stop: int, consumer: int, consumers: int) -> range:
    """The sample numbers n in [start, stop) that `consumer` takes."""
    return range(start + (consumer - start) % consumers, stop, consumers)


def lanes_of(consumer: int, consumers: int, lanes: int) -> range:
    """The lanes that `consumer` reads from."""
    step = gcd(consumers, lanes)
    return range(consumer % step, lanes, step)


def lanes_a_consumer(consumers: int, lanes: int) -> int:
    """How many lanes each consumer reads at a time."""
    return lanes // gcd(consumers, lanes)


def readers_per_lane(consumers: int, lanes: int) -> int:
    """How many consumers read each lane: the factor by which the data set is read in an epoch."""
    return consumers // gcd(consumers, lanes)


def first_position(start: int, lane: int, consumer: int, consumers: int, lanes: int) -> int:
    """The first position of `lane`, from sample number `start` on, that `consumer` takes.

    The next ones follow at steps of `readers_per_lane(consumers, lanes)`. The consumer reads `lane`.
    """
    number = start + (consumer - start) % consumers
    common = gcd(consumers, lanes)
    # The least k >= 0 with number + k * consumers = lane modulo lanes.
    k = (lane - number) // common * pow(consumers // common, -1, lanes // common) % (lanes // common)
    return (number + k * consumers) // lanes


def front(used: Indices) -> int:
    """The raw index behind all that earlier positions used, those with the raw indices `used`.

    A reader that starts behind those positions has everything it needs from there on ahead of it, and before it only
    what jitter left behind: fewer than a window of samples.
    """
    return int(used.max()) + 1 if len(used) else 0


def augmentation_rng(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers for sample `number` of an epoch: the same whoever decodes it."""
    return np.random.default_rng([_AUGMENT, seed, epoch, number])


def pixel_rng(seed: int, epoch: int, number: int, repeat: int = 0) -> np.random.Generator:
    """The random numbers for what is done to the pixels of a clip of sample `number`, once it is cut."""
    return np.random.default_rng([_PIXELS, seed, epoch, number, repeat])


def mixing_rng(seed: int, epoch: int, number: int, repeat: int = 0) -> np.random.Generator:
    """The random numbers for the pair whose first is that clip of sample `number`."""
    return np.random.default_rng([_MIXING, seed, epoch, number, repeat])

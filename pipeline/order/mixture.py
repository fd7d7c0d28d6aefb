"""Several shard sets in one order: which sample of which set is the n-th of an epoch. Integers, no I/O.

The rule, for sets i = 0, 1, ... of N_i samples, weights w_i, L lanes and a given (seed, epoch):

1. An epoch takes c_i = round(w_i * N_i) samples of set i, one at least: its share. The set is an endless raw sequence,
   pass after pass over its permuted shards, and epoch e takes the c_i of it from e * c_i on. So no sample of a set
   comes for the second time before all have come once, and none for the third time before all have come twice.
2. The n-th sample of the epoch is of the set i with C_i <= (a * n) mod C < C_(i+1): C_i are the shares of the sets
   before set i together, C is that of all, and a has no factor in common with C, so that each set has its share. Which
   a it is (`_stride`) makes any stretch of numbers, and every lane, have nearly the same part of each set.
3. Lane l is the numbers n with n mod L = l. Its samples of set i lie next to one another in the set's raw sequence,
   behind those of lane l - 1, and are ordered as in a lane of one set, by the set's part of the window.

One set alone, of weight 1, has the order that `pipeline.order.plan` has for it.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.order import plan
from pipeline.order.plan import Indices, Order, Piece

_SEEDS = 5
"""The first word of a random stream, beside those of `plan`."""
_TURN = (33**0.5 - 3) / 7
"""Part of a circle, irrational: steps of so much spread evenly over it, and so do 2, 3, 4, ... or 64 of them at a time,
which is what a rank or a lane takes. Steps of the golden section spread better one by one, and badly 8 at a time."""
_TRIED, _AT_ONCE = 64, 1 << 20
MOST = 1 << 31
"""Samples of an epoch of several sets: a number of one times a step is an int64."""


@dataclass(frozen=True)
class Part:
    """What an epoch takes of one set: `share` samples, from the `first` of its first pass on.

    `seed`: the set's own; `passes`: the raw sequences that the samples lie in.
    """

    seed: int
    first: int
    share: int
    passes: list[plan.Epoch]

    def pieces(self, start: int, stop: int) -> list[Piece]:
        """The parts of shards that make up the samples `start` to `stop` - 1 of these, in raw order."""
        found, begin = [], -self.first
        for sequence in self.passes:
            end = begin + sequence.samples
            found += plan.pieces(sequence, max(start, begin) - begin, min(stop, end) - begin)
            begin = end
        return found


@dataclass(frozen=True)
class Epoch:
    """An epoch of all sets: what its lanes have in common, worked out once for all of them."""

    order: Order
    number: int
    parts: list[Part]

    @property
    def samples(self) -> int:
        """Of all lanes."""
        return sum(part.share for part in self.parts)


@dataclass(frozen=True)
class Strand:
    """A lane's samples of one set: the parts of shards that they lie in, in raw order, and their order of use."""

    pieces: list[Piece]
    order: Indices


@dataclass(frozen=True)
class Lane:
    """A lane: a strand of each set, and the set of each position, int64 (positions,)."""

    strands: list[Strand]
    sets: Indices


def share(weight: float, samples: int) -> int:
    """How many samples an epoch takes of a set of `samples`, each of which comes `weight` times an epoch on average."""
    return max(1, round(weight * samples))


def epoch(shard_samples: Sequence[Indices], shares: Sequence[int], order: Order, number: int) -> Epoch:
    """Epoch `number` of sets that give `shares`; `shard_samples`: of each set, the samples of each shard, int64."""
    parts = []
    for i, (sizes, taken) in enumerate(zip(shard_samples, shares, strict=True)):
        own = replace(order, seed=_seed(order.seed, i))
        begun, first = divmod(number * taken, int(sizes.sum()))
        ended = ((number + 1) * taken - 1) // int(sizes.sum())
        passes = [plan.raw_sequence(sizes, own, pass_) for pass_ in range(begun, ended + 1)]
        parts.append(Part(own.seed, first, taken, passes))
    return Epoch(order, number, parts)


def lane(epoch: Epoch, number: int) -> Lane:
    """Lane `number` of an epoch."""
    order, shares = epoch.order, tuple(part.share for part in epoch.parts)
    sets = sets_of(np.arange(number, sum(shares), order.lanes), shares)
    lengths = np.bincount(sets, minlength=len(shares)).tolist()
    strands = []
    for part, start, length in zip(
        epoch.parts, _starts(shares, order.lanes)[number].tolist(), lengths, strict=True
    ):
        window = -(-order.window * length // max(len(sets), 1))
        own = Order(part.seed, order.lanes, window)
        in_order = plan.lane_order(length, own, epoch.number, number)
        strands.append(Strand(part.pieces(start, start + length), in_order))
    return Lane(strands, sets)


def sets_of(numbers: Indices, shares: Sequence[int]) -> Indices:
    """The set of each of an epoch's sample `numbers`, int64 like these; the same in every epoch."""
    total = sum(shares)
    if len(shares) == 1:
        return np.broadcast_to(np.int64(0), numbers.shape)  # which takes no memory
    return np.searchsorted(np.cumsum(shares), numbers * _stride(total) % total, side="right")


@functools.lru_cache(2)
def _starts(shares: tuple[int, ...], lanes: int) -> Indices:
    """How many samples of each set come in the lanes before each lane, int64 (lanes, sets)."""
    total, sets = sum(shares), len(shares)
    if sets == 1:
        return np.array([[plan.lane_start(total, lanes, lane)] for lane in range(lanes)])
    counts = np.zeros(lanes * sets, np.int64)
    for first in range(0, total, _AT_ONCE):
        numbers = np.arange(first, min(first + _AT_ONCE, total))
        counts += np.bincount(numbers % lanes * sets + sets_of(numbers, shares), minlength=len(counts))
    table = counts.reshape(lanes, sets)
    return np.cumsum(table, axis=0) - table


@functools.lru_cache(2)
def _stride(total: int) -> int:
    """A step round a circle of `total` places that visits each once, and any stretch of steps evenly.

    Of some near the same part of the circle it is the one whose continued fraction has the smallest terms: a large
    term is a number of steps that ends close to where it began.
    """
    near = int(total * _TURN)
    return min(range(near + 1, near + 1 + _TRIED), key=lambda step: _largest_term(step, total))


def _largest_term(step: int, total: int) -> float:
    """Of the continued fraction of `step` / `total`; infinite where the two have a common factor."""
    largest, above, below = 0, total, step
    while below:
        term, rest = divmod(above, below)
        largest, above, below = max(largest, term), below, rest
    return largest if above == 1 else math.inf


def epoch_order(
    shard_samples: Sequence[Indices], shares: Sequence[int], order: Order, number: int
) -> Indices:
    """Which sample every number of an epoch is, int64 (samples,), as its place among the samples of all sets."""
    made = epoch(shard_samples, shares, order, number)
    sizes = [int(some.sum()) for some in shard_samples]
    begin = np.cumsum(sizes) - sizes
    starts = [first + np.cumsum(some) - some for first, some in zip(begin, shard_samples, strict=True)]
    numbered = np.empty(made.samples, np.int64)
    for n in range(min(order.lanes, made.samples)):
        found = lane(made, n)
        samples = np.empty(len(found.sets), np.int64)
        for i, strand in enumerate(found.strands):
            samples[found.sets == i] = _places(strand.pieces, starts[i])[strand.order]
        numbered[n :: order.lanes] = samples
    return numbered


def named(key: str, number: int | None) -> str:
    """The sample `key` of set `number`, among those of several sets; of one alone (None) it is the key."""
    return key if number is None else f"{number}:{key}"


def _places(pieces: list[Piece], starts: Indices) -> Indices:
    """The place of every sample of `pieces`, where shards begin at `starts`."""
    parts = [np.arange(piece.first, piece.stop) + starts[piece.shard] for piece in pieces]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _seed(seed: int, number: int) -> int:
    """The seed of a set's own shards and jitter; the first one's is the run's."""
    return (
        int(np.random.SeedSequence([_SEEDS, seed, number]).generate_state(1, np.uint64)[0])
        if number
        else seed
    )

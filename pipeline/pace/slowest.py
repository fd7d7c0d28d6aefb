"""Who holds up the others, and in what: decided from the seconds that each rank spent in each stage."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

STAGES = ("read", "decode", "hand over", "forward", "checkpoint")
"""What a rank spends time in by itself: the first two are waiting for its loader, by what that was busy with.

To hand over is what the training process does to a batch: it puts it together, sends it to the device and augments it.

The backward pass is none: it is the time of the exchange as well, in which the ranks wait for each other.
"""


WAIT = "wait for the others"
"""What a rank's time goes into beside its own stages: see `waits`."""
LOST = (*(stage for stage in STAGES if stage != "forward"), WAIT)
"""What is time lost: all that is no computing."""


class Slowest(NamedTuple):
    """The rank that the others wait for, the stage in which it is behind them, and by how many seconds it is."""

    rank: int
    stage: str
    behind: float


def slowest(rows: Sequence[Sequence[float]]) -> Slowest:
    """The slowest of ranks that spent `rows[rank][stage]` seconds in the `STAGES`.

    It is the one with the largest sum; its stage the one by which it is furthest behind the median of the others. A
    rank alone is behind none: its stage is its longest.
    """
    sums = [sum(row) for row in rows]
    rank = max(range(len(rows)), key=sums.__getitem__)
    own, others = rows[rank], [row for other, row in enumerate(rows) if other != rank]
    usual = [median(column) for column in zip(*others, strict=True)] if others else [0.0] * len(STAGES)
    stage = max(range(len(STAGES)), key=lambda s: own[s] - usual[s])
    behind = sums[rank] - median(map(sum, others)) if others else 0.0
    return Slowest(rank, STAGES[stage], behind)


def waits(rows: Sequence[Sequence[float]]) -> list[float]:
    """Seconds that each rank waited for the slowest one, at least."""
    sums = [sum(row) for row in rows]
    return [max(sums) - own for own in sums]

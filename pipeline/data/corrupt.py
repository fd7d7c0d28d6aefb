"""What becomes of damaged samples: the run stops, or others stand in for them, within a budget."""

import sys
from collections.abc import Callable
from itertools import chain
from typing import TypeVar

from pipeline.config import Data
from pipeline.data.lane_reader import LaneReader
from pipeline.data.samples import DamagedError, Span
from sharding.errors import UserError

T = TypeVar("T")


def allowed(data: Data, samples: int) -> int | None:
    """How many of an epoch's `samples` may be damaged; None: not one, and none is replaced."""
    return share_of(data.corrupt_budget, samples) if data.corrupt == "replace" else None


def share_of(budget: float, samples: int) -> int:
    """How many of an epoch's `samples` the share `budget` of them are."""
    return int(round(budget * samples, 6))


class Substitutes:
    """Good samples in place of the damaged ones that one consumer meets in one epoch.

    The lane's previous good sample stands in, or the next good one where none comes before. "Previous" goes by the
    lane's positions, so that it is the same one on any number of ranks and workers, and after a resume. Each consumer
    stops at the budget of the whole epoch; what all of them replaced is summed by `Tally`.
    """

    def __init__(self, allowed: int | None) -> None:
        self._allowed = allowed
        self._damaged: set[tuple[int, int]] = set()  # lane and position

    def use(self, lane: LaneReader, position: int, damage: DamagedError, cut: Callable[[Span], T]) -> T:
        """What `cut` makes of the sample that stands in for the damaged one at `position` of `lane`.

        Raises `damage` where nothing may be replaced, and `UserError` where too much is damaged.
        """
        self._count(lane, position, damage)
        for other in chain(range(position - 1, -1, -1), range(position + 1, lane.length)):
            if (lane.number, other) in self._damaged:
                continue
            span = lane.at(other)
            try:
                made = cut(span)
            except DamagedError as error:
                self._count(lane, other, error)
                continue
            _warn(f"{damage}; sample {span.row.key} is used in its place")
            return made
        raise UserError(f"{damage}; and no other sample of its lane is whole")

    def _count(self, lane: LaneReader, position: int, damage: DamagedError) -> None:
        if self._allowed is None:
            raise damage
        self._damaged.add((lane.number, position))
        if len(self._damaged) > self._allowed:
            raise UserError(f"{damage}; {_too_many(len(self._damaged), self._allowed)}")


class Tally:
    """The samples replaced in the present epoch, on all ranks together: so far `replaced` of them in `epoch`."""

    def __init__(self, allowed: int | None, epoch: int = -1, replaced: int = 0) -> None:
        self._allowed = allowed or 0
        self._epoch, self._replaced = epoch, replaced

    def state(self) -> dict[str, int]:
        """What a resumed run's is made with."""
        return {"epoch": self._epoch, "replaced": self._replaced}

    def add(self, epoch: int, replaced: int) -> None:
        """Count `replaced` more of `epoch`. Raises `UserError` where they are more than the budget."""
        self._replaced = replaced + (self._replaced if epoch == self._epoch else 0)
        self._epoch = epoch
        if self._replaced > self._allowed:
            raise UserError(
                f"epoch {epoch}: {_too_many(self._replaced, self._allowed)}; they are named above, each with its shard"
            )


def _too_many(damaged: int, allowed: int) -> str:
    return f"{damaged} damaged samples in this epoch, more than the {allowed} that data.corrupt_budget allows"


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)

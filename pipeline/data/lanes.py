"""The lanes that one consumer reads in one epoch, opened by threads: the epoch before it may still be in use."""

import resource
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future

from pipeline.data.lane_reader import LaneReader, begun
from pipeline.data.samples import Span

_MOST_FILES = 1 << 16

Begun = tuple[LaneReader, Iterator[Span]]


class Lanes:
    """Lanes by number, each on its way to its first sample from the start; `make` makes the reader of one.

    Whoever asks waits for that lane alone, and gets the `UserError` that its opening ended in.
    """

    def __init__(self, numbers: range, make: Callable[[int], LaneReader], threads: Executor) -> None:
        self._opening: dict[int, Future[Begun]] = {
            number: threads.submit(_begin, make, number) for number in numbers
        }
        self._begun: dict[int, Begun] = {}

    def reader(self, number: int) -> LaneReader:
        """The reader of a lane."""
        return self._lane(number)[0]

    def next(self, number: int) -> Span:
        """The next sample of a lane."""
        return next(self._lane(number)[1])

    def finish(self) -> None:
        """Read what is left of every lane, and drop it."""
        for number in self._opening:
            for _ in self._lane(number)[1]:
                pass

    def _lane(self, number: int) -> Begun:
        if number not in self._begun:
            self._begun[number] = self._opening[number].result()
        return self._begun[number]


def _begin(make: Callable[[int], LaneReader], number: int) -> Begun:
    reader = make(number)
    return reader, begun(iter(reader))


def allow_open_files() -> None:
    """Let this process have as many open files as it may: each lane is one, and where epochs meet two.

    The usual 1,024 are too few for a run that goes on with fewer processes than it began with.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

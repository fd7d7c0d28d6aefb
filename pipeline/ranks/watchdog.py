"""A rank that makes no progress ends, and says where it stood."""

import faulthandler
from types import TracebackType

_STDERR = 2  # the descriptor: whatever stands in for sys.stderr


class Watchdog:
    """Ends the process, with the stacks of its threads on stderr, after `limit_s` seconds without a `beat`.

    The other ranks wait for it in a collective operation, whose own time limit is later (`distributed.MARGIN_S`), so
    that every stack is in the log before the first rank ends and torchrun kills the rest.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def beat(self) -> None:
        """There is progress: the time starts again."""
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=_STDERR)

    def __enter__(self) -> "Watchdog":
        self.beat()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()

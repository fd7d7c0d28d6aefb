"""Being told to stop, from the first line of a program on: a note is taken, whatever is still being imported. No torch.

From there on a rank ends with its launcher, too.

SIGTERM and SIGUSR1 are what schedulers send, SIGINT is Ctrl-C, SIGHUP a terminal that is closed. All mean: stop when it
is safe. A second Ctrl-C means at once.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO, cast

from pipeline.ranks import launcher

STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)

STATUS = 75  # EX_TEMPFAIL of sysexits.h: not finished, to be started again
INTERRUPTED = 128 + signal.SIGINT

_ECHO_S = 2.0
"""A launcher may pass on the Ctrl-C that the terminal has sent to this process too: not a second one."""

_told_at: float | None = None
_noting = False


def note() -> None:
    """Take a note of the signals from here on, in place of what they do otherwise. The first line of a program.

    A rank that its launcher leaves alone ends from here on.
    """
    global _noting, _told_at
    _noting, _told_at = True, None
    for number in STOP:
        signal.signal(number, _take_note)
    sys.stdout, sys.stderr = _Lasting.of(sys.stdout), _Lasting.of(sys.stderr)
    launcher.follow()


def told() -> bool:
    """Whether this process was told to stop."""
    return _told_at is not None


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Take notes within the block; where `note` was not called before it, signals are as they were after it."""
    global _noting
    if _noting:
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP}
    streams = sys.stdout, sys.stderr
    note()
    try:
        yield
    finally:
        _noting = False
        sys.stdout, sys.stderr = streams
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_note(number: int, frame: FrameType | None) -> None:
    global _told_at
    if number == signal.SIGINT and _told_at is not None and time.monotonic() - _told_at > _ECHO_S:
        os.write(2, b"interrupted again: ending at once\n")
        os._exit(INTERRUPTED)
    _told_at = _told_at or time.monotonic()


class _Lasting:
    """A terminal's stream that stays quiet when the terminal is gone: writing there fails before SIGHUP is heard."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @staticmethod
    def of(stream: TextIO) -> TextIO:
        """`stream`; a lasting one in place of a terminal's."""
        return cast(TextIO, _Lasting(stream)) if stream.isatty() else stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

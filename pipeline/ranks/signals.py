"""Being told to stop, from the first line of a program on: a note is taken, whatever is still being imported. No torch.

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

STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)

STATUS = 75  # EX_TEMPFAIL of sysexits.h: not finished, to be started again
INTERRUPTED = 128 + signal.SIGINT

_ECHO_S = 2.0
"""A launcher may pass on the Ctrl-C that the terminal has sent to this process too: not a second one."""

_told_at: float | None = None
_noting = False


def note() -> None:
    """Take a note of the signals from here on, in place of what they do otherwise. The first line of a program."""
    global _noting, _told_at
    _noting, _told_at = True, None
    for number in STOP:
        signal.signal(number, _take_note)


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
    note()
    try:
        yield
    finally:
        _noting = False
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_note(number: int, frame: FrameType | None) -> None:
    global _told_at
    if number == signal.SIGINT and _told_at is not None and time.monotonic() - _told_at > _ECHO_S:
        os.write(2, b"interrupted again: ending at once\n")
        os._exit(INTERRUPTED)
    if number == signal.SIGHUP:
        _let_go_of_the_terminal()
    _told_at = _told_at or time.monotonic()


def _let_go_of_the_terminal() -> None:
    """What is still said would fail on a terminal that is gone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stream.isatty():
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

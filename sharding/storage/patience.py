"""How long a store may take and be away: one loop around every request of every cloud, with the same numbers.

A request that finds no connection, breaks, goes silent, is cut short or is answered 408, 429 or 5xx is sent again,
with growing, jittered pauses, until `TOTAL_S` have gone by since it was first sent. So a store may be away for two
minutes; it is found again `BACKOFF_MAX_S` after its return at the latest. One that hangs costs a time-out more. Every
request has all of that time: nothing is used up over a run. Any other answer is final and is told at once. The
clouds' own clients are told to send a request once. They take the time-outs when they are made.
"""

import itertools
import math
import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from sharding.storage.answers import without_secrets

CONNECT_TIMEOUT_S = 10.0  # until a connection stands
READ_TIMEOUT_S = 30.0  # of silence on a connection that stands
TOTAL_S = 120.0  # from the first try of a request to the last
BACKOFF_S = 0.5  # before the second try; doubles with each one
BACKOFF_MAX_S = 10.0
SAID_AFTER_S = 10.0  # a wait that is longer is told on stderr, lest it be taken for a hang

PART_BYTES = 16 << 20  # one part of an upload: what a writer holds in memory and sends again when it breaks
PUT_BYTES = 64 << 20  # the most that is written by one request where the cloud has a limit for it (Azure)
READ_CHUNK_BYTES = 8 << 20  # one request of a download where the cloud's client cannot stream (GCS, Azure)

T = TypeVar("T")


class Exhausted(Exception):  # noqa: N818 - says what is used up; `cause` is the error
    """The time for a request is used up: after so many seconds it failed with `cause`."""

    def __init__(self, seconds: float, cause: Exception) -> None:
        super().__init__(f"tried for {seconds:.0f} s, and at last: {cause}")
        self.seconds, self.cause = seconds, cause


def insist(request: Callable[[], T], passes: Callable[[Exception], bool]) -> T:
    """What `request` returns, once it does.

    An error that `passes` says will pass is waited out, for `TOTAL_S` at most: then it is `Exhausted`. Any other error
    is raised as it is.
    """
    start = time.monotonic()
    for failures in itertools.count(1):
        try:
            return request()
        except Exception as error:
            if not passes(error):
                raise
            tried = time.monotonic() - start
            if tried >= TOTAL_S:
                raise Exhausted(tried, error) from error
            _say(tried, error)
        time.sleep(min(delay(failures), TOTAL_S - tried))
    raise AssertionError("counting has no end")


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row (1 or more): exponential, the upper half at random."""
    return min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


def chunk_end(start: int, end: int | None) -> int:
    """Where a request from `start` on ends that may not be longer than `READ_CHUNK_BYTES`."""
    longest = start + READ_CHUNK_BYTES
    return longest if end is None else min(end, longest)


_said_at = -math.inf


def _say(tried: float, error: Exception) -> None:
    """Tell of a long wait: one line of this process in `TOTAL_S`, however many requests wait."""
    global _said_at
    now = time.monotonic()
    if tried >= SAID_AFTER_S and now - _said_at >= TOTAL_S:
        _said_at = now
        cause = without_secrets(" ".join(str(error).split()))
        told = f"warning: no good answer from a store for {tried:.0f} s ({cause})"
        print(f"{told}; it is tried for up to {TOTAL_S:.0f} s", file=sys.stderr, flush=True)

"""The one error that a user can mend, and how a command line ends with it."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

MISTAKE = 2
"""The exit status of a user's mistake: to start again would not help."""
UNREACHABLE = 69  # EX_UNAVAILABLE of sysexits.h
"""The exit status where a store was away for too long, or a host did not come: to start again may help."""
_INTERRUPTED = 130  # 128 + SIGINT


class UserError(Exception):
    """A mistake in what the user gave: one line that says what, where (file, key, URL) and what to do.

    `status` is that of a training that ends for it.
    """

    status = MISTAKE


class UnreachableError(UserError):
    """A store gave no good answer for as long as `sharding.storage` tries: no mistake, and it may be well later."""

    status = UNREACHABLE


def one_line_errors(main: Callable[P, int]) -> Callable[P, int]:
    """`main` with a `UserError` printed as one line on stderr and turned into its status; Ctrl-C is one line too."""

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return error.status
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            return _INTERRUPTED

    return wrapped

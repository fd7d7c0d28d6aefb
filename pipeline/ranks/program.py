"""How a program that torchrun starts begins and ends, on each rank."""

import functools
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec

from pipeline.ranks import launcher, signals
from pipeline.ranks.mistakes import ToldElsewhere
from pipeline.ranks.preemption import Preempted
from sharding.arguments import Arguments
from sharding.errors import MISTAKE, UserError

P = ParamSpec("P")


class RankArguments(Arguments):
    """A parser of ranks, which all have the same words: the first one says what is wrong with them."""

    def error(self, message: str) -> NoReturn:
        """The status of a mistake, and on the first rank a line."""
        if not launcher.is_main():
            self.exit(MISTAKE)
        super().error(message)


def rank_program(main: Callable[P, int]) -> Callable[P, int]:
    """`main` as a rank of a run: it ends with its launcher, and its launcher knows how.

    A `UserError` is one line on stderr, status 2, and no restart; a store that was away for too long is status 69,
    being told to stop 75.
    """

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        with signals.noted():
            launcher.started()
            status = 1  # of a traceback
            try:
                status = _status(functools.partial(main, *args, **kwargs))
            except SystemExit as error:  # argparse's
                status = error.code if isinstance(error.code, int) else 1
                raise
            finally:
                launcher.ended(status)
                if status == MISTAKE:
                    launcher.stop_all()
            return status

    return wrapped


def _status(main: Callable[[], int]) -> int:
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.status
    except ToldElsewhere as elsewhere:
        return elsewhere.status
    except Preempted as stopped:
        if stopped.says:
            print(stopped, file=sys.stderr, flush=True)
        return signals.STATUS

"""What a program that starts processes without `if __name__ == "__main__":` is told.

Python runs a program's own file once more in every process that it starts. Unguarded, that run starts processes too,
which Python refuses with a page of traceback for each. Here the second run ends at once, and the first one says why.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sharding.errors import UserError

_STATUS = 78  # EX_CONFIG of sysexits.h


@contextmanager
def starting() -> Iterator[None]:
    """Around the start of a process: where that is in such a second run, this process ends."""
    try:
        yield
    except RuntimeError as error:
        if "bootstrapping phase" in str(error):  # multiprocessing's own words
            os._exit(_STATUS)
        raise


def check(status: int | None) -> None:
    """Raise `UserError` where a process that was started ended with `status` because it was about to start others."""
    if status == _STATUS:
        raise UserError(
            "the program's own file starts processes wherever it is run, and Python runs it again in each of them; "
            'put what it does at its end behind `if __name__ == "__main__":` (imports and functions stay outside)'
        ) from None  # however that end was noticed

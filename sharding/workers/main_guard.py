"""What a program is told that starts processes without `if __name__ == "__main__":`, or that has no file of its own.

Python runs a program's own file once more in every process that it starts. Unguarded, that run starts processes too,
which Python refuses with a page of traceback for each. Here the second run ends at once, and the first one says why.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sharding.errors import UserError

_STATUS = 78  # EX_CONFIG of sysexits.h


@contextmanager
def starting() -> Iterator[None]:
    """Around the start of a process: where that is in such a second run, this process ends.

    Raises `UserError` where there is no file to be run again: each process would end with a traceback.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if main.__spec__ is None and file is not None and not Path(file).exists():
        raise UserError(
            f"the program has no file ({file}), and Python runs that again in each process that it starts; write the "
            "program to a file, or start no processes (workers=0)"
        )
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

"""The progress bar of a long stage."""

import sys
from typing import Any

from tqdm import tqdm

_LOG_INTERVAL_S = 10.0  # where the output is a file, a bar that moves all the time would fill it


def bar(title: str, total: int, unit: str, initial: int = 0, scale: bool = False) -> "tqdm[Any]":
    """A bar on stderr; to be used as a context. `scale`: count in thousands and millions of the unit."""
    interval = 0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S
    return tqdm(
        desc=title,
        total=total,
        initial=initial,
        unit=unit,
        unit_scale=scale,
        dynamic_ncols=True,
        mininterval=interval,
        maxinterval=interval,
    )

"""How far an evaluation is: a bar in a terminal, a line now and then in a log."""

import sys
import time
from datetime import timedelta

from tqdm import tqdm

LINE_S = 30.0
"""Between two lines of a log."""


class Progress:
    """Of an evaluation of `videos` videos, on stderr; a context. Where it is not `shown`, nothing is said."""

    def __init__(self, videos: int, title: str, shown: bool) -> None:
        self._videos, self._title = videos, title
        self._bar = tqdm(
            total=videos,
            desc=title,
            unit="video",
            leave=False,
            dynamic_ncols=True,
            disable=not (shown and sys.stderr.isatty()),
        )
        self._in_lines = shown and self._bar.disable
        self._began = self._said = time.monotonic()
        self._done = 0

    def add(self, videos: int) -> None:
        """About so many more are through, on all ranks together; the last batch may be smaller."""
        before, self._done = self._done, min(self._videos, self._done + videos)
        self._bar.update(self._done - before)
        now = time.monotonic()
        if self._in_lines and self._done < self._videos and now - self._said >= LINE_S:
            self._said = now
            left = timedelta(seconds=round((now - self._began) * (self._videos - self._done) / self._done))
            counts = f"{self._done:,} of {self._videos:,} videos"
            print(f"{self._title}: {counts}, {left} left", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

"""How far a long stage is: a bar in a terminal, a line now and then where the output is a file."""

import sys
import time
from datetime import timedelta

from tqdm import tqdm

LINE_S = 30.0
"""Between two lines of a log."""


class Bar:
    """Of a stage with `total` things to do, on stderr; a context. `bar` makes it."""

    def __init__(
        self, title: str, total: int, unit: str, initial: int, scale: bool, shown: bool, leave: bool
    ) -> None:
        self._title, self._total, self._unit, self._scale = title, total, unit, scale
        self._bar = tqdm(
            desc=title,
            total=total,
            initial=initial,
            unit=unit,
            unit_scale=scale,
            dynamic_ncols=True,
            leave=leave,
            disable=not (shown and sys.stderr.isatty()),
        )
        self._in_lines = shown and self._bar.disable
        self._began = self._said = time.monotonic()
        self._initial = self._done = initial
        self._beside = ""

    def update(self, count: int = 1) -> None:
        """So many more are done; fewer, where something begins again."""
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._in_lines and self._done < self._total and now - self._said >= LINE_S:
            self._said = now
            print(self._line(now - self._began), file=sys.stderr, flush=True)

    def beside(self, text: str) -> None:
        """What is said beside the numbers from now on."""
        self._beside = text
        self._bar.set_postfix_str(text, refresh=False)

    def write(self, message: str) -> None:
        """A line on stderr that leaves the bar whole."""
        tqdm.write(message, file=sys.stderr)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def _line(self, seconds: float) -> str:
        done, total = self._count(self._done), self._count(self._total)
        words = [f"{self._title}: {done} of {total}{'' if self._scale else f' {self._unit}s'}"]
        if self._beside:
            words.append(self._beside)
        if (fresh := self._done - self._initial) > 0:
            words.append(f"{timedelta(seconds=round(seconds * (self._total - self._done) / fresh))} left")
        return ", ".join(words)

    def _count(self, count: int) -> str:
        return f"{tqdm.format_sizeof(count)}{self._unit}" if self._scale else f"{count:,}"


def bar(
    title: str,
    total: int,
    unit: str,
    initial: int = 0,
    scale: bool = False,
    shown: bool = True,
    leave: bool = True,
) -> Bar:
    """How far a stage is, of whose `total` units `initial` are done before it; to be used as a context.

    `scale`: count in thousands and millions of the unit. Where it is not `shown`, nothing is said. `leave`: the bar
    stays on the terminal when it is full.
    """
    return Bar(title, total, unit, initial, scale, shown, leave)

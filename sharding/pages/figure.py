"""Estimated numbers with their standard errors."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """An estimated number and its standard error; NaN where the sample cannot tell it."""

    value: float
    error: float

    def times(self, factor: float) -> "Figure":
        """The figure in another unit."""
        return Figure(self.value * factor, self.error * factor)

    def text(self, unit: Callable[[float], str]) -> str:
        """The value in words of `unit`, and its error as a share: `60.1 GB ± 3.2 %`."""
        if self.error == 0:
            return unit(self.value)
        share = "?" if math.isnan(self.error) else f"{100 * self.error / self.value:.1f} %"
        return f"{unit(self.value)} ± {share}"


def mean(values: Sequence[float], population: int) -> Figure:
    """The mean of a random sample from `population` values. A sample of all has no error."""
    if not values:
        return Figure(math.nan, math.nan)
    if len(values) == population:
        return Figure(statistics.fmean(values), 0.0)
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return Figure(statistics.fmean(values), spread * math.sqrt((1 - len(values) / population) / len(values)))


def total(figures: Iterable[Figure]) -> Figure:
    """The sum of independent figures."""
    summed = list(figures)
    return Figure(sum(f.value for f in summed), math.hypot(*(f.error for f in summed)))

"""The report's table of what every class gains and loses between two evaluations, whatever classes are scored by."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from pipeline.reporting import sortable
from pipeline.reporting.sortable import Cell


class Scored(NamedTuple):
    """How many videos of a class there are, and what it scores, in percent."""

    videos: int
    percent: float


def table(
    before: Mapping[int, Scored], after: Mapping[int, Scored], classes: Sequence[str], of: tuple[str, str]
) -> tuple[str, str]:
    """The change of each class, by its label, in words and as a table; `of`: whose scores the two are."""
    gains = {label: after[label].percent - before[label].percent for label in before}
    rows = [
        [
            *class_cells(label, before[label].videos, classes),
            Cell(f"{before[label].percent:.1f}", before[label].percent),
            Cell(f"{after[label].percent:.1f}", after[label].percent),
            Cell(f"{sortable.balance(gain)}{gain:+.1f}", gain),
        ]
        for label, gain in sorted(gains.items(), key=lambda item: (-item[1], item[0]))
    ]
    better, worse = sum(gain > 0 for gain in gains.values()), sum(gain < 0 for gain in gains.values())
    said = f"classes: {better} better, {worse} worse, {len(gains) - better - worse} as before"
    head = ("class", "name", "videos", *(f"{name}, %" for name in of), "change, points")
    return said, sortable.table(head, rows)


def class_cells(label: int, videos: int, classes: Sequence[str]) -> list[Cell]:
    """What a row of a class begins with: its number, its name, and how many videos it has."""
    return [Cell(f"{label}", label), Cell(escape(classes[label])), Cell(f"{videos:,}", videos)]

"""The report's tables of classes where videos have several labels: how well each class is ranked, and what it gains.

Nothing is confused with anything there: a video may be of two classes at once.
"""

from collections.abc import Sequence
from html import escape

from pipeline.evaluation.average_precision import ClassPrecision, class_precisions
from pipeline.reporting import sortable
from pipeline.reporting.record import Answers
from pipeline.reporting.sortable import Cell

_HEAD = ("class", "name", "videos", "average precision, %")


def mean(answers: Answers) -> float:
    """Mean average precision in percent."""
    found = class_precisions(answers.labels, answers.logits)
    return sum(each.precision for each in found) / len(found)


def table(answers: Answers, classes: Sequence[str]) -> str:
    """Every class that has videos, the best ranked first."""
    rows = [
        [
            *_class(each, classes),
            Cell(f"{sortable.measure(each.precision)}{each.precision:.1f}", each.precision),
        ]
        for each in class_precisions(answers.labels, answers.logits)
    ]
    return (
        f"<h3>Classes<span>a click on a column's name sorts by it</span></h3>\n{sortable.table(_HEAD, rows)}"
    )


def difference(base: Answers, other: Answers, classes: Sequence[str]) -> tuple[list[str], str]:
    """What `other` gains and loses by class against `base`, of the same videos: in words, and as a table."""
    before, after = (
        {each.label: each for each in class_precisions(one.labels, one.logits)} for one in (base, other)
    )
    gains = {label: after[label].precision - before[label].precision for label in before}
    rows = [
        [
            *_class(before[label], classes),
            Cell(f"{before[label].precision:.1f}", before[label].precision),
            Cell(f"{after[label].precision:.1f}", after[label].precision),
            Cell(f"{sortable.balance(gain)}{gain:+.1f}", gain),
        ]
        for label, gain in sorted(gains.items(), key=lambda item: (-item[1], item[0]))
    ]
    better, worse = sum(gain > 0 for gain in gains.values()), sum(gain < 0 for gain in gains.values())
    said = [
        f"mean average precision {mean(base):.2f} % to {mean(other):.2f} %",
        f"classes: {better} better, {worse} worse, {len(gains) - better - worse} as before",
    ]
    head = ("class", "name", "videos", f"{base.of}, %", f"{other.of}, %", "change, points")
    return said, sortable.table(head, rows)


def _class(each: ClassPrecision, classes: Sequence[str]) -> list[Cell]:
    return [
        Cell(f"{each.label}", each.label),
        Cell(escape(classes[each.label])),
        Cell(f"{each.videos:,}", each.videos),
    ]

"""The report's tables of classes where videos have several labels: how well each class is ranked, and what it gains.

Nothing is confused with anything there: a video may be of two classes at once.
"""

from collections.abc import Sequence

from pipeline.evaluation.average_precision import class_precisions
from pipeline.reporting import gains, sortable
from pipeline.reporting.gains import Scored
from pipeline.reporting.record import Answers
from pipeline.reporting.sortable import Cell

_HEAD = ("class", "name", "videos", "average precision, %")


def mean(answers: Answers) -> float:
    """Mean average precision in percent."""
    return _mean(_by_class(answers))


def table(answers: Answers, classes: Sequence[str]) -> str:
    """Every class that has videos, the best ranked first."""
    rows = [
        [
            *gains.class_cells(each.label, each.videos, classes),
            Cell(f"{sortable.measure(each.precision)}{each.precision:.1f}", each.precision),
        ]
        for each in class_precisions(answers.labels, answers.logits)
    ]
    return (
        f"<h3>Classes<span>a click on a column's name sorts by it</span></h3>\n{sortable.table(_HEAD, rows)}"
    )


def difference(base: Answers, other: Answers, classes: Sequence[str]) -> tuple[list[str], str]:
    """What `other` gains and loses by class against `base`, of the same videos: in words, and as a table."""
    before, after = _by_class(base), _by_class(other)
    by_class, table = gains.table(before, after, classes, (base.of, other.of))
    return [f"mean average precision {_mean(before):.2f} % to {_mean(after):.2f} %", by_class], table


def _mean(scored: dict[int, Scored]) -> float:
    return sum(each.percent for each in scored.values()) / len(scored)


def _by_class(one: Answers) -> dict[int, Scored]:
    found = class_precisions(one.labels, one.logits)
    return {each.label: Scored(each.videos, each.precision) for each in found}

"""The report's tables of classes: how well each is recognised, and what two runs gain and lose on each."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from pipeline.evaluation import confusion
from pipeline.evaluation.confusion import Ints
from pipeline.reporting import curve, gains, precisions, sortable
from pipeline.reporting.gains import Scored
from pipeline.reporting.record import Answers, Record
from pipeline.reporting.sortable import Cell

_HEAD = (
    "class",
    "name",
    "videos",
    "recognised, %",
    "taken for it, videos",
    "right of these, %",
    "most mistakes",
)


class Evaluated(NamedTuple):
    """A run, the number of its colour, and its predictions for a split."""

    run: Record
    colour: int
    answers: Answers


def table(counts: Ints, classes: Sequence[str]) -> str:
    """Every class that has videos, the best recognised first."""
    rows = [
        [
            *gains.class_cells(score.label, score.videos, classes),
            Cell(f"{sortable.measure(score.accuracy)}{score.accuracy:.1f}", score.accuracy),
            *_predicted(counts[:, score.label], score.label),
            Cell("" if score.taken_for is None else escape(classes[score.taken_for])),
        ]
        for score in confusion.class_scores(counts)
    ]
    return (
        f"<h3>Classes<span>a click on a column's name sorts by it</span></h3>\n{sortable.table(_HEAD, rows)}"
    )


def changes(evaluated: Sequence[Evaluated]) -> Iterator[str]:
    """What each run gains and loses by class against the first one that was evaluated on the same videos.

    Of two data sets' splits of one name it is said that they are not compared.
    """
    bases: dict[str, list[Evaluated]] = {}
    for one in evaluated:
        known = bases.setdefault(one.answers.split, [])
        base = next((other for other in known if _same_videos(other, one)), None)
        if base is not None:
            yield _section(base, one, _difference(base, one))
            continue
        if known:
            yield _section(known[0], one, _OTHER_VIDEOS)
        known.append(one)


def _section(base: Evaluated, other: Evaluated, content: str) -> str:
    heading = f"{name(other)} against {name(base)}: {escape(other.answers.split)}"
    return f"<section>\n<h2>{heading}</h2>\n{content}\n</section>"


_OTHER_VIDEOS = '<p class="quiet">no comparison: the two were evaluated on other videos or classes</p>'


def _same_videos(base: Evaluated, other: Evaluated) -> bool:
    ours, theirs = base.answers, other.answers
    return (
        ours.keys == theirs.keys
        and ours.labels.tolist() == theirs.labels.tolist()
        and ours.logits.shape == theirs.logits.shape
    )


def _difference(base: Evaluated, other: Evaluated) -> str:
    classes = other.run.classes(base.answers.logits.shape[1])
    compare = precisions.difference if base.answers.several else _recognised
    said, table = compare(base.answers, other.answers, classes)
    if _views(base) != _views(other):
        said.append("the two evaluations saw the videos in other ways")
    return f'<p class="quiet">{escape("; ".join(said))}</p>\n<h3>Gains and losses by class</h3>\n{table}'


def _recognised(base: Answers, other: Answers, classes: Sequence[str]) -> tuple[list[str], str]:
    """In words, and as a table."""
    labels = base.labels
    # Of each video, whether it is recognised.
    before, after = (confusion.predicted_classes(one.logits) == labels for one in (base, other))
    by_class, table = gains.table(_by_class(base), _by_class(other), classes, (base.of, other.of))
    said = [
        f"top-1 {100 * before.mean():.2f} % to {100 * after.mean():.2f} %",
        by_class,
        f"videos: {(after & ~before).sum():,} newly recognised, {(before & ~after).sum():,} no longer",
    ]
    return said, table


def _predicted(column: Ints, label: int) -> list[Cell]:
    """How many videos were taken for a class, and how many of these are of it."""
    videos = int(column.sum())
    right = 100 * int(column[label]) / videos if videos else None
    # A class that nothing was taken for sorts below those that are always wrong.
    return [Cell(f"{videos:,}", videos), Cell("", -1) if right is None else Cell(f"{right:.1f}", right)]


def _by_class(one: Answers) -> dict[int, Scored]:
    counts = confusion.matrix(one.labels, one.logits)
    return {score.label: Scored(score.videos, score.accuracy) for score in confusion.class_scores(counts)}


def _views(one: Evaluated) -> object:
    """How the evaluation saw the videos, as far as it said so."""
    return next((e.get("views") for e in one.run.evaluations if e["split"] == one.answers.split), None)


def name(one: Evaluated) -> str:
    """Whose predictions these are, after the colour of their run."""
    return f"{curve.key(one.colour)}{escape(one.answers.of)}"

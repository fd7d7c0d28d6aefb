"""The report's look at the predictions of an evaluation: what is confused, class by class, and frames of answers."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from pipeline.evaluation import confusion
from pipeline.evaluation.confusion import Ints
from pipeline.reporting import classwise, gallery, precisions
from pipeline.reporting.classwise import Evaluated

_PAIRS = 10
_SHADES = 8
_NAMED = 24  # a matrix of more classes has numbers at its sides
_SIDE, _NAMES, _NUMBERS = 440, 320, 22  # the matrix and what is beside it, in the drawing's own pixels


def section(one: Evaluated) -> str:
    """What a run's predictions for a split show."""
    run, answers = one.run, one.answers
    classes = run.classes(answers.logits.shape[1])
    if answers.several:
        return _of_several(one, classes)
    counts = confusion.matrix(answers.labels, answers.logits)
    heading = f"{classwise.name(one)}: {escape(answers.split)}"
    said = f"{len(answers.keys):,} videos, top-1 {100 * counts.trace() / counts.sum():.2f} %"
    return "\n".join(
        [
            f'<section>\n<h2>{heading}</h2>\n<p class="quiet">{said}</p>',
            '<div class="columns">',
            "<div><h3>Confusion<span>rows: true class, columns: predicted</span></h3>",
            f"{_matrix(counts, classes)}</div>",
            f"<div>{_pairs(counts, classes)}</div>",
            "</div>",
            classwise.table(counts, classes),
            gallery.section(run, answers, classes),
            "</section>",
        ]
    )


def _of_several(one: Evaluated, classes: Sequence[str]) -> str:
    answers = one.answers
    said = f"{len(answers.keys):,} videos, mean average precision {precisions.mean(answers):.2f} %"
    return "\n".join(
        [
            f'<section>\n<h2>{classwise.name(one)}: {escape(answers.split)}</h2>\n<p class="quiet">{said}</p>',
            precisions.table(answers, classes),
            "</section>",
        ]
    )


def _matrix(counts: Ints, classes: Sequence[str]) -> str:
    """The matrix as a drawing: the darker a cell, the larger its share of the row."""
    n = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shades = np.ceil(shares * _SHADES).astype(int)
    named = n <= _NAMED
    left, cell = _NAMES if named else 2 * _NUMBERS, _SIDE / n
    width, height = left + _SIDE + 2, _NUMBERS + _SIDE + 2
    parts = [
        f'<svg class="matrix" viewBox="0 0 {width} {height}" style="width: {width}px" role="img" '
        'aria-label="confusion matrix">',
        f'<g transform="translate({left} {_NUMBERS})"><g transform="scale({cell:.5f})">',
        *(_cells(np.argwhere(shades == shade), shade / _SHADES) for shade in range(1, _SHADES + 1)),
        f'</g><rect width="{_SIDE}" height="{_SIDE}"/>',
    ]
    for i in range(0, n, 1 if named else math.ceil(n / 12)):
        middle = (i + 0.5) * cell
        name = f"{_cut(classes[i])} · {i}" if named else str(i)
        tip = f"<title>{escape(classes[i])}</title>"
        parts += [
            f'<text x="-6" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}{tip}</text>',
            f'<text x="{middle:.1f}" y="-6" text-anchor="middle">{i}{tip}</text>',
        ]
    return "".join([*parts, "</g></svg>"])


def _cells(places: Ints, opacity: float) -> str:
    """The cells (row, column) of one shade, as one path: a matrix of 174 classes has thousands of them."""
    path = "".join(f"M{column} {line}h1v1h-1z" for line, column in places)
    return f'<path fill-opacity="{opacity:.3f}" d="{path}"/>'


def _pairs(counts: Ints, classes: Sequence[str]) -> str:
    pairs = confusion.pairs(counts, _PAIRS)
    if not pairs:
        return '<h3>Most confused</h3>\n<p class="quiet">nothing is confused</p>'
    rows = [
        f'<tr><td>{escape(classes[label])}</td><td>{escape(classes[predicted])}</td><td class="n">{videos:,}</td>'
        f'<td class="n">{100 * videos / counts[label].sum():.0f} %</td></tr>'
        for label, predicted, videos in pairs
    ]
    head = '<tr><th>true</th><th>predicted</th><th class="n">videos</th><th class="n">of the class</th></tr>'
    return "\n".join(["<h3>Most confused</h3>", f'<div class="wide"><table>{head}', *rows, "</table></div>"])


def _cut(name: str, most: int = 42) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"

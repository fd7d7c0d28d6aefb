"""The report's look at the predictions of an evaluation: what is confused, and the most confident mistakes."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from pipeline.evaluation import confusion
from pipeline.evaluation.confusion import ClassScore, Ints, Mistake
from pipeline.reporting import curve
from pipeline.reporting.record import Answers, Record
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.pages import contact
from sharding.pages.contact import Sheet
from sharding.pages.document import quiet, row
from sharding.pages.inspect import sample_rows

_MISTAKES = 12
_CLASSES = 10  # best, and as many worst
_PAIRS = 10
_SHADES = 8
_NAMED = 24  # a matrix of more classes has numbers at its sides
_SIDE, _NAMES, _NUMBERS = 440, 320, 22  # the matrix and what is beside it, in the drawing's own pixels


def section(run: Record, answers: Answers, colour: int) -> str:
    """What the run's predictions for a split show."""
    classes = run.classes(answers.logits.shape[1])
    counts = confusion.matrix(answers.labels, answers.logits)
    scores = confusion.class_scores(counts)
    several = min(_CLASSES, len(scores) // 2)
    drawn = [
        f"<div><h3>Confusion<span>rows: true class, columns: predicted</span></h3>{_matrix(counts, classes)}</div>",
        f"<div>{_pairs(counts, classes)}</div>",
    ]
    lists = [
        f"<div><h3>Best classes</h3>{_list(scores[:several], classes)}</div>",
        f"<div><h3>Worst classes</h3>{_list(scores[::-1][:several], classes)}</div>",
    ]
    heading = f"{curve.key(colour)}{escape(run.name)}: {escape(answers.split)}"
    said = f"{len(answers.keys):,} videos, top-1 {100 * counts.trace() / counts.sum():.2f} %"
    return "\n".join(
        [
            f'<section>\n<h2>{heading}</h2>\n<p class="quiet">{said}</p>',
            '<div class="columns">',
            *drawn,
            '</div>\n<div class="columns">',
            *lists,
            "</div>",
            _mistakes(run, answers, classes),
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


def _list(scores: Sequence[ClassScore], classes: Sequence[str]) -> str:
    items = []
    for score in scores:
        taken = ""
        if score.taken_for is not None:
            taken = f'<span class="taken">most mistakes: {escape(classes[score.taken_for])}</span>'
        items.append(
            f'<li><span class="n quiet">{score.label}</span><span>{escape(classes[score.label])}{taken}</span>'
            f'<span><span class="bar" style="width:{score.accuracy:.1f}%"></span></span>'
            f'<span class="n">{score.accuracy:.0f} % <span class="quiet">of {score.videos:,}</span></span></li>'
        )
    return "\n".join(['<ol class="classes">', *items, "</ol>"])


def _mistakes(run: Record, answers: Answers, classes: Sequence[str]) -> str:
    mistakes = confusion.confident_mistakes(answers.labels, answers.logits, _MISTAKES)
    title = "<h3>Confident mistakes<span>the wrong predictions of the highest probability</span></h3>"
    if not mistakes:
        return f'{title}\n<p class="quiet">none: every video is recognised</p>'
    problem, sheets = None, {}
    try:
        sheets = _sheets(run.manifest(answers.split), [answers.keys[m.number] for m in mistakes])
    except UserError as error:
        problem = f'<p class="quiet">without pictures: {escape(str(error))}</p>'
    shown = [
        _mistake(mistake, answers.keys[mistake.number], classes, sheets.get(answers.keys[mistake.number]))
        for mistake in mistakes
    ]
    return "\n".join([title, *([problem] if problem else []), *shown])


def _sheets(made: Manifest, keys: Sequence[str]) -> dict[str, Sheet]:
    """The pictures of these samples, by key; without those that the split does not have."""
    placed = {sample.key: (url, sample) for url, sample in sample_rows(made)}
    found = [placed[key] for key in keys if key in placed]
    pictures = sum(len(contact.frames(sample.frames, None)) for _, sample in found)
    height = contact.picture_height(pictures)
    return {sample.key: contact.read(url, sample, None, height) for url, sample in found}


def _mistake(mistake: Mistake, key: str, classes: Sequence[str], sheet: Sheet | None) -> str:
    true, predicted = escape(classes[mistake.label]), escape(classes[mistake.predicted])
    facts = quiet([f"{100 * mistake.probability:.1f} % sure", f"video {key}"])
    said = f'<p><b>{true}</b> <span class="bad">taken for {predicted}</span> {facts}</p>'
    if sheet is not None and sheet.problem is None:
        said += row(sheet.pictures)
    elif sheet is not None:
        said += f'<p class="bad">damaged: {escape(sheet.problem or "")}</p>'
    return f'<div class="sample">{said}</div>'


def _cut(name: str, most: int = 42) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"

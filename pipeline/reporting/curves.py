"""The report's curves: each figure of the runs' metrics over the steps, all runs in one drawing."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from pipeline.reporting import curve
from pipeline.reporting.curve import Curve
from pipeline.reporting.record import Record
from pipeline.run.journal import Line
from sharding.pages.document import plot


class Chart(NamedTuple):
    """A drawing of one figure: its keys in the lines of training and of validation, and what it is multiplied by."""

    title: str
    train: str
    validation: str | None = None
    factor: float = 1.0


CHARTS = (
    Chart("Loss", "loss", "loss"),
    Chart("Top-1 accuracy, %", "top1", "top1"),
    Chart("Learning rate", "lr"),
    Chart("Clips a second", "clips_per_s"),
    Chart("Waiting for data, % of the time", "data_wait", factor=100),
    Chart("Time of a step, ms", "step_s", factor=1000),
)
_NO_FIGURES = {"kind", "step", "epoch", *(chart.train for chart in CHARTS)}
_SAID = "over steps; solid: training, dashed: validation"


def section(runs: Sequence[Record]) -> str:
    """All curves with their legend."""
    plots = [_chart(chart, runs) for chart in (*CHARTS, *_others(runs))]
    drawn = [drawing for drawing in plots if drawing]
    if not drawn:
        return '<h2>Curves</h2>\n<p class="quiet">no metrics yet</p>'
    keys = "".join(f"<span>{curve.key(i)}{escape(run.name)}</span>" for i, run in enumerate(runs))
    legend = f'<p class="legend">{keys}<span class="quiet">{_SAID}</span></p>'
    return "\n".join(["<h2>Curves</h2>", legend, '<div class="plots">', *drawn, "</div>"])


def _others(runs: Sequence[Record]) -> list[Chart]:
    """A chart for each further number in the lines of training, under its own name."""
    numbers = (
        name
        for run in runs
        for line in run.train
        for name, value in line.items()
        if isinstance(value, int | float) and name not in _NO_FIGURES
    )
    return [Chart(name.replace("_", " "), name) for name in dict.fromkeys(numbers)]


def _chart(chart: Chart, runs: Sequence[Record]) -> str:
    """One drawing; nothing where no run has the figure."""
    curves = []
    for i, run in enumerate(runs):
        curves.append(_curve(run.name, i, run.train, chart.train, chart.factor))
        if chart.validation:
            name = f"{run.name}, validation"
            curves.append(_curve(name, i, run.validation, chart.validation, chart.factor, marked=True))
    if not any(drawn.steps for drawn in curves):
        return ""
    words = zip(("last", "validation"), curves, strict=False)
    last = [f"{word} {drawn.values[-1]:.4g}" for word, drawn in words if drawn.steps]
    return plot(chart.title, " · ".join(last) if len(runs) == 1 else "", curve.svg(curves, chart.title))


def _curve(
    name: str, colour: int, lines: Sequence[Line], figure: str, factor: float, marked: bool = False
) -> Curve:
    points = [(line["step"], factor * line[figure]) for line in lines if line.get(figure) is not None]
    return curve.of(name, colour, points, marked)

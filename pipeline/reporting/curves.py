"""The report's curves: each figure of the runs' metrics over the epochs, all runs in one drawing."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from pipeline.reporting import curve
from pipeline.reporting.curve import Curve
from pipeline.reporting.record import Record
from pipeline.run.journal import Line
from sharding.pages.document import plot


class Chart(NamedTuple):
    """A drawing of one figure: its keys in the lines of training and of validation, and what it is multiplied by.

    `rare`: of what should not happen; drawn where it did.
    """

    title: str
    train: str | None
    validation: str | None = None
    factor: float = 1.0
    rare: bool = False


_SLOWEST = "clips_per_s_slowest"

CHARTS = (
    Chart("Loss", "loss", "loss"),
    Chart("Mean average precision, %", None, "map"),
    Chart("First answer is a label (hit@1), %", "hit1", "hit1"),
    Chart("A label among the first five (hit@5), %", "hit5", "hit5"),
    Chart("Top-1 accuracy, %", "top1", "top1"),
    Chart("Top-5 accuracy, %", "top5", "top5"),
    Chart("Mean class accuracy, %", None, "mean_class"),
    Chart("Learning rate", "lr"),
    Chart("Norm of the gradients", "grad_norm"),
    Chart("Clips a second", "clips_per_s"),
    Chart("Clips a second of the slowest rank", _SLOWEST),
    Chart("Waiting for data, % of the time", "data_wait", factor=100),
    Chart("Time of a step, ms", "step_s", factor=1000),
    Chart("Use of the GPU's peak arithmetic, %", "mfu", factor=100),
    Chart("Damaged samples replaced", "replaced", rare=True),
    Chart("Steps without a finite loss", "nonfinite", rare=True),
)
UNDRAWN = {"kind", "step", "epoch", "time", "eta_s", "gpu_memory_gb"}
"""What else a line of training has, of which a curve would say nothing; the tables have the memory."""

_KNOWN = {*UNDRAWN, *(chart.train for chart in CHARTS)}
_SAID = "solid: training, dashed: validation"


def section(runs: Sequence[Record]) -> str:
    """All curves with their legend."""
    plots = [_chart(chart, runs) for chart in (*CHARTS, *_others(runs)) if _tells(chart, runs)]
    drawn = [drawing for drawing in plots if drawing]
    if not drawn:
        return '<h2>Curves</h2>\n<p class="quiet">no metrics yet</p>'
    keys = "".join(f"<span>{curve.key(i)}{escape(run.name)}</span>" for i, run in enumerate(runs))
    legend = f'<p class="legend">{keys}<span class="quiet">{_SAID}</span></p>'
    return "\n".join(["<h2>Curves</h2>", legend, '<div class="plots">', *drawn, "</div>"])


def _tells(chart: Chart, runs: Sequence[Record]) -> bool:
    """Whether the drawing would say anything that no other one says."""
    lines = [line for run in runs for line in run.train]
    if chart.rare:
        return any(line.get(chart.train or "") for line in lines)
    if chart.train == _SLOWEST:
        # Of one rank alone it is that of all; the figure was float32 on its way.
        return any(line[_SLOWEST] < 0.999 * line["clips_per_s"] for line in lines if _SLOWEST in line)
    return chart.train not in ("top5", "hit5") or any(run.has_top5 for run in runs)


def _others(runs: Sequence[Record]) -> list[Chart]:
    """A chart for each further number in the lines of training, under its own name."""
    numbers = (
        name
        for run in runs
        for line in run.train
        for name, value in line.items()
        if isinstance(value, int | float) and name not in _KNOWN
    )
    return [Chart(name.replace("_", " ").capitalize(), name) for name in dict.fromkeys(numbers)]


def _chart(chart: Chart, runs: Sequence[Record]) -> str:
    """One drawing; nothing where no run has the figure."""
    curves, last = [], []
    for i, run in enumerate(runs):
        if chart.train:
            curves.append(_curve(run, run.name, i, run.train, chart.train, chart.factor))
            last += [f"last {drawn.values[-1]:.4g}" for drawn in curves[-1:] if drawn.steps]
        if chart.validation:
            name = f"{run.name}, validation"
            curves.append(_curve(run, name, i, run.validation, chart.validation, chart.factor, marked=True))
            last += [f"validation {drawn.values[-1]:.4g}" for drawn in curves[-1:] if drawn.steps]
    if not any(drawn.steps for drawn in curves):
        return ""
    return plot(chart.title, " · ".join(last) if len(runs) == 1 else "", curve.svg(curves, chart.title))


def _curve(
    run: Record,
    name: str,
    colour: int,
    lines: Sequence[Line],
    figure: str,
    factor: float,
    marked: bool = False,
) -> Curve:
    points = [(line["step"], factor * line[figure]) for line in lines if line.get(figure) is not None]
    return curve.of(name, colour, points, marked, run.epoch_steps)

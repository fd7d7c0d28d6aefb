"""Curves over the epochs of training, and their drawing as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

_WIDTH, _HEIGHT = 520, 230  # of the drawing, in its own pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 10, 26
_POINTS = 400  # of one line; more could not be told apart
_TICKS = 5
_FEW = 20  # values, among which none is an outlier


@dataclass(frozen=True)
class Curve:
    """A line through `values` at `steps`; `colour` is the number of its run, `marked` draws a dot at each value.

    `epoch_steps`: steps in an epoch of its run, where that is known.
    """

    name: str
    colour: int
    steps: list[int]
    values: list[float]
    marked: bool = False
    epoch_steps: int | None = None


def of(
    name: str,
    colour: int,
    points: Sequence[tuple[int, float]],
    marked: bool = False,
    epoch_steps: int | None = None,
) -> Curve:
    """The curve through those `points` (step, value) that are finite numbers."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    steps, values = [step for step, _ in finite], [value for _, value in finite]
    return Curve(name, colour, steps, values, marked, epoch_steps)


def thinned(curve: Curve, most: int = _POINTS) -> Curve:
    """At most `most` points: the means of as many points in a row as that takes."""
    group = math.ceil(len(curve.steps) / most)
    if group <= 1:
        return curve
    starts = range(0, len(curve.steps), group)
    steps = [curve.steps[i : i + group] for i in starts]
    values = [curve.values[i : i + group] for i in starts]
    return replace(
        curve,
        steps=[round(sum(part) / len(part)) for part in steps],
        values=[sum(part) / len(part) for part in values],
    )


def ticks(low: float, high: float, most: int = _TICKS) -> list[float]:
    """Round numbers (multiples of 1, 2 or 5 times a power of ten) that enclose `low` and `high`: about `most`."""
    width = (high - low or abs(high) or 1.0) / most
    power = 10.0 ** math.floor(math.log10(width))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * width)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def upper(values: Sequence[float]) -> float:
    """The largest of `values`; with a few of many far above all others, somewhat more than these others' largest."""
    ranked = sorted(values)
    others = ranked[int(0.94 * (len(ranked) - 1))]
    return 1.2 * others if len(ranked) >= _FEW and ranked[-1] > 3 * others > 0 else ranked[-1]


def svg(curves: Sequence[Curve], title: str) -> str:
    """The drawing, with `title` for those who cannot see it. Curves without points are left out.

    They are over epochs, or over steps where the steps of some run's epoch are not known. Values above `upper` lie on
    the upper edge, whose number then has a sign before it.
    """
    whole = [curve for curve in curves if curve.steps]
    in_epochs = all(curve.epoch_steps for curve in whole)
    last = max(_along(curve, curve.steps[-1], in_epochs) for curve in whole)
    drawn = [thinned(curve) for curve in whole]
    values = [value for curve in drawn for value in curve.values]
    low, high = min(values), upper(values)
    # From zero, unless that would press what there is to see into the upper half.
    up = ticks(0.0 if 0 <= low < high / 2 or low == high > 0 else low, high)
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(along: float, value: float) -> tuple[float, float]:
        share = (min(value, up[-1]) - up[0]) / (up[-1] - up[0])
        return _LEFT + (right - _LEFT) * along / last, floor - (floor - _TOP) * share

    parts = [f'<svg class="curves" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in up:
        _, y = place(0, tick)
        sign = "≥ " if tick == up[-1] < max(values) else ""
        parts += [
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{sign}{_number(tick)}</text>',
        ]
    unit = "epoch" if in_epochs else "step"
    parts.append(f'<text x="{_LEFT - 12}" y="{_HEIGHT - 8}" text-anchor="end">{unit}</text>')
    for tick in ticks(0, last):
        x, _ = place(tick, low)
        if x <= right:
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{_number(tick)}</text>')
    for curve in drawn:
        points = zip(curve.steps, curve.values, strict=True)
        parts += _drawn(curve, [place(_along(curve, step, in_epochs), value) for step, value in points])
    return "".join([*parts, "</svg>"])


def when(step: int, epoch_steps: int | None) -> str:
    """A step, and how many epochs have passed with it: `epoch 3.5, step 105`."""
    return f"epoch {step / epoch_steps:.4g}, step {step:,}" if epoch_steps else f"step {step:,}"


def key(colour: int) -> str:
    """A patch of a run's colour."""
    return f'<span class="key c{colour % COLOURS}"></span>'


def _along(curve: Curve, step: int, in_epochs: bool) -> float:
    """Where a step lies on the axis."""
    return step / curve.epoch_steps if in_epochs and curve.epoch_steps else step


def _drawn(curve: Curve, places: list[tuple[float, float]]) -> list[str]:
    kind = f"c{curve.colour % COLOURS}"
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline class="{kind}{" marked" if curve.marked else ""}" points="{line}"/>']
    # One point alone makes no line.
    if curve.marked or len(places) == 1:
        parts += [
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(curve.name)}, '
            f"{when(step, curve.epoch_steps)}: {value:.4g}</title></circle>"
            for (x, y), step, value in zip(places, curve.steps, curve.values, strict=True)
        ]
    return parts


def _number(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:,.6g}k"
    return f"{value:.6g}" if value else "0"


_PALETTE = ("#3f83c5", "#e07b28", "#3d9a5f", "#c8504a", "#8a68b8", "#97703f", "#cc5f9f", "#3aa0a8")
COLOURS = len(_PALETTE)

STYLE = (
    "".join(
        f"polyline.c{i} {{ stroke: {c}; }} circle.c{i} {{ fill: {c}; }} .key.c{i} {{ background: {c}; }}\n"
        for i, c in enumerate(_PALETTE)
    )
    + """
polyline { fill: none; stroke-width: 1.4; stroke-linejoin: round; }
polyline.marked { stroke-width: 1.4; stroke-dasharray: 5 3; }
svg line.grid { stroke: var(--line); }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .45rem; }
""".lstrip()
)
"""The style of the drawings, and of a `key` to a colour."""

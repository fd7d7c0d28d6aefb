"""A histogram of whole numbers, and its drawing as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 520, 170  # of the drawing, in its own pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 10, 24
_WIDEST_BAR = 40
_LABELS = 8


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` values lie in [start + i * width, start + (i + 1) * width)."""

    start: int
    width: int
    counts: list[int]


def of(values: Sequence[int], bins: int = 30) -> Histogram:
    """At most about `bins` bins, of a round width (1, 2 or 5 times a power of ten) and beginning at a round number."""
    low, high = min(values), max(values)
    width = _round_up((high - low + 1) / bins)
    start = low // width * width
    counts = [0] * ((high - start) // width + 1)
    for value in values:
        counts[(value - start) // width] += 1
    return Histogram(start, width, counts)


def svg(histogram: Histogram, label: Callable[[int], str] = str) -> str:
    """The drawing: a bar for each bin, the largest count at the left, `label` of some bins' beginnings below."""
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bins, most = len(histogram.counts), max(histogram.counts)
    slot = min(plot_width / bins, _WIDEST_BAR)
    floor = _TOP + plot_height
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f'<line x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - _RIGHT}" y2="{floor}"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{most:,}</text>',
        f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">0</text>',
    ]
    for i, count in enumerate(histogram.counts):
        begin = histogram.start + i * histogram.width
        height = plot_height * count / most
        tip = f"{label(begin)} to {label(begin + histogram.width)}" if histogram.width > 1 else label(begin)
        parts.append(
            f'<rect x="{_LEFT + i * slot:.1f}" y="{floor - height:.1f}" width="{max(slot - 1, 0.5):.1f}" '
            f'height="{height:.1f}"><title>{escape(tip)}: {count:,}</title></rect>'
        )
    # A bin of one value is named in its middle, wider ones where they begin.
    shift = slot / 2 if histogram.width == 1 else 0
    step = _round_up(histogram.width * bins / _LABELS)
    for i in range(bins + (histogram.width > 1)):
        value = histogram.start + i * histogram.width
        if value % step == 0:
            x = _LEFT + i * slot + shift
            text = escape(label(value))
            parts.append(f'<text x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{text}</text>')
    return "".join([*parts, "</svg>"])


def _round_up(width: float) -> int:
    """The least of 1, 2, 5, 10, 20, ... that is not below `width`."""
    step = 1
    while step < width:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step

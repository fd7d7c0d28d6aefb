"""The report's timeline of ranks: what each one spent its time in besides computing, and who held up the others."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from pipeline.pace.slowest import LOST
from pipeline.reporting.record import Record
from pipeline.run.journal import Line
from pipeline.run.metrics import LATE

_WIDTH, _ROW, _LEFT = 1040, 16, 150  # of the drawing, in its own pixels
_COLUMNS, _ROWS = 130, 64  # more of either are put together
_FAINT = 30  # thousandths of the time, below which a cell stays empty
_NAMED = 6


class Cell(NamedTuple):
    """What a rank lost most time in between two points of the run, and how many thousandths of it."""

    stage: str
    lost: float


def section(runs: Sequence[Record]) -> str:
    """The timelines of all runs that have several ranks on record; nothing where none has."""
    drawn = [_of(run) for run in runs if any(len(_ranks(line)) > 1 for line in run.train)]
    if not drawn:
        return ""
    keys = "".join(f'<span><span class="key l{i}"></span>{name}</span>' for i, name in enumerate(LOST))
    note = '<span class="quiet">the stronger, the more of the time; empty: computing</span>'
    return "\n".join(["<h2>Timeline of the ranks</h2>", f'<p class="legend">{keys}{note}</p>', *drawn])


def cells(lines: Sequence[Line], rank: range, columns: int) -> list[Cell]:
    """`columns` cells of the ranks in `rank`: the means of the lines that fall in each, of the rank that lost most."""
    found = []
    for column in range(columns):
        part = lines[column * len(lines) // columns : (column + 1) * len(lines) // columns]
        found.append(max((_mean(part, one) for one in rank), key=lambda cell: cell.lost))
    return found


def held_up(lines: Sequence[Line]) -> list[tuple[int, str, str, float]]:
    """Rank, host, stage, and the share of the lines in which that held up the others; the most frequent first."""
    late = (line["slowest"] for line in lines if line["slowest"]["behind"] >= LATE)
    counts = Counter((one["rank"], one["host"], one["stage"]) for one in late)
    return [(*who, count / len(lines)) for who, count in counts.most_common(_NAMED)]


def _mean(lines: Sequence[Line], rank: int) -> Cell:
    sums = dict.fromkeys(LOST, 0.0)
    for line in lines:
        for stage in LOST:
            column = line["stages"][stage]
            sums[stage] += column[rank] / len(lines) if rank < len(column) else 0.0
    stage = max(sums, key=sums.__getitem__)
    return Cell(stage, sums[stage])


def _of(run: Record) -> str:
    lines = [line for line in run.train if _ranks(line)]
    ranks = max(len(_ranks(line)) for line in lines)
    group = -(-ranks // _ROWS)
    columns = min(_COLUMNS, len(lines))
    width = (_WIDTH - _LEFT) / columns
    rows = [range(first, min(first + group, ranks)) for first in range(0, ranks, group)]
    parts = [
        f"<h3>{escape(run.name)}<span>steps {lines[0]['step']:,} to {lines[-1]['step']:,}</span></h3>",
        f'<div class="wide"><svg class="timeline" viewBox="0 0 {_WIDTH} {_ROW * len(rows) + 2}" role="img" '
        f'aria-label="what the ranks of {escape(run.name)} lost time in">',
    ]
    for y, some in enumerate(rows):
        name = escape(_name(some, run))
        parts.append(f'<text x="{_LEFT - 8}" y="{_ROW * y + 12}" text-anchor="end">{name}</text>')
        parts += [
            f'<rect class="l{LOST.index(cell.stage)}" x="{_LEFT + x * width:.1f}" y="{_ROW * y + 1}" '
            f'width="{width:.2f}" height="{_ROW - 2}" opacity="{min(1.0, 0.05 + cell.lost / 600):.2f}">'
            f"<title>{name}: {cell.stage} {cell.lost / 10:.0f} %</title></rect>"
            for x, cell in enumerate(cells(lines, some, columns))
            if cell.lost >= _FAINT
        ]
    parts.append("</svg></div>")
    late = held_up(lines)
    parts += ['<ul class="plain">'] if late else []
    parts += [
        f"<li>rank {rank} on {escape(host)} held up the others in {stage}, in {share:.0%} of the lines of metrics</li>"
        for rank, host, stage, share in late
    ]
    parts += (
        ["</ul>"] if late else ['<p class="quiet">no rank held up the others by a twentieth of the time</p>']
    )
    return "\n".join(parts)


def _ranks(line: Line) -> list[int]:
    """One figure of each rank; none in lines of programs before."""
    column: list[int] = line.get("stages", {}).get(LOST[0], [])
    return column


def _name(some: range, run: Record) -> str:
    """`rank 3, node-1`; `ranks 8 to 15` of several."""
    if len(some) > 1:
        return f"ranks {some[0]} to {some[-1]}"
    of_last = run.starts[-1]["ranks"] if run.starts else []
    host = f", {of_last[some[0]]['host']}" if some[0] < len(of_last) else ""
    return f"rank {some[0]}{host}"


_PALETTE = ("#3f83c5", "#e07b28", "#8a68b8", "#3d9a5f", "#8c959f")

STYLE = (
    "".join(
        f"svg.timeline rect.l{i} {{ fill: {c}; }} .key.l{i} {{ background: {c}; }}\n"
        for i, c in enumerate(_PALETTE)
    )
    + "svg.timeline { width: 1040px; }\n"
)
"""The style of the drawings and of their keys."""

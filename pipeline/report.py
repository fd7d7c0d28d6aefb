"""One or more runs as one HTML page that needs nothing else; they may still be going on.

python -m pipeline.report s3://bucket/runs/50-f8x2 s3://bucket/runs/50-f16x2
"""

from collections.abc import Sequence

from pipeline.reporting import (
    answers,
    classwise,
    compared,
    curve,
    curves,
    history,
    record,
    scores,
    sortable,
    timeline,
)
from pipeline.reporting.classwise import Evaluated
from pipeline.reporting.record import Record
from sharding import storage
from sharding.arguments import Arguments, place
from sharding.errors import one_line_errors
from sharding.pages import units
from sharding.pages.document import document

STYLE = (
    curve.STYLE
    + sortable.STYLE
    + timeline.STYLE
    + """
.wide { overflow-x: auto; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 0 0 .2rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); gap: 0 2.5rem; }
.plots svg { width: 100%; }
.columns { display: flex; flex-wrap: wrap; gap: 0 3.5rem; }
.columns > * { flex: 1 1 26rem; min-width: 0; max-width: 54rem; }
.side { display: flex; flex-wrap: wrap; gap: 0 5rem; }
.side > * { min-width: 0; max-width: 100%; }
.plain { list-style: none; margin: 0; padding: 0; }
details { margin-top: 1.2rem; }
summary { cursor: pointer; }
details th[colspan] { padding-top: .9rem; color: var(--ink); }
svg.matrix path { fill: var(--accent); shape-rendering: crispEdges; }
svg.matrix rect { fill: none; stroke: var(--axis); }
"""
)


def render(runs: Sequence[Record]) -> str:
    """The page of these runs."""
    evaluated = [Evaluated(run, i, found) for i, run in enumerate(runs) for found in run.answers()]
    body = [
        '<div class="side">',
        scores.runs_table(runs),
        history.table(runs),
        "</div>",
        scores.evaluations_table(runs),
        scores.orders_table(runs),
        compared.section(runs),
        curves.section(runs),
        timeline.section(runs),
        *classwise.changes(evaluated),
        *(answers.section(one) for one in evaluated),
    ]
    return document(", ".join(run.name for run in runs), body, STYLE, sortable.SCRIPT)


def parser() -> Arguments:
    """The options."""
    parser = Arguments(prog="python -m pipeline.report", description="One or more runs as one HTML page.")
    parser.add_argument("runs", type=place, nargs="+", metavar="RUN", help="run folder or URL")
    parser.add_argument(
        "--out", type=place, help="file or URL to write (default: report.html in the first RUN)"
    )
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    runs = [record.read(url, name) for url, name in zip(args.runs, record.names(args.runs), strict=True)]
    out = args.out or storage.join(args.runs[0], "report.html")
    page = render(runs).encode()
    storage.write_bytes(out, page)
    for run in runs:
        print(f"{run.name}: {history.state(run)}")
    print(f"{out}: {units.size(len(page))}, open it in a browser")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A run in a short table, from what its folder and its shards say.

python -m pipeline.summary RUN
"""

from collections.abc import Sequence
from statistics import median

from pipeline.reporting import record
from pipeline.reporting.record import Record
from pipeline.run.journal import Line
from sharding.arguments import Arguments, place
from sharding.errors import UserError, one_line_errors


def rows(folder: str) -> list[tuple[str, str]]:
    """The table of the run in `folder`: names and values."""
    run = record.read(folder, folder)
    if not run.train:
        raise UserError(f"{folder}: no metrics yet")
    data, table = run.config.data, []
    for split in (data.train, data.validation):
        loaded = run.manifest(split)
        table.append((f"{split} videos", f"{loaded.samples} in {len(loaded.shards)} shards"))
    for root, weight in data.mix.items():
        loaded = run.manifest(data.train, root)
        found = f"{loaded.samples} in {len(loaded.shards)} shards of {root}, weight {weight:g}"
        table.append(("mixed videos", found))
    return [
        *table,
        (
            "steps",
            f"{run.train[-1]['step']} of {run.config.optim.global_batch * run.config.data.repeats} clips",
        ),
        ("training speed", f"{median(line['clips_per_s'] for line in run.train):.1f} clips/s"),
        *_scores(run),
        ("run folder", folder),
    ]


def _scores(run: Record) -> list[tuple[str, str]]:
    """Of the last evaluation of a checkpoint, or else of the last one while training; and the best of the latter."""
    name = "mAP" if run.several else "top-1"
    own = (line for line in run.evaluations if "model" not in line)  # released weights may be scored here too
    of_checkpoint = [line for line in own if line["split"] == run.config.data.validation]
    if of_checkpoint:
        last = f"{of_checkpoint[-1][run.merit]:.1f} %, of {of_checkpoint[-1]['checkpoint']}"
    else:
        last = _after(run, run.validation[-1]) if run.validation else "not evaluated yet"
    best = [] if run.best is None else [(f"best {name}", _after(run, run.best))]
    return [(f"validation {name}", last), *best]


def _after(run: Record, line: Line) -> str:
    return f"{line[run.merit]:.1f} %, after step {line['step']}"


def parser() -> Arguments:
    """The options."""
    parser = Arguments(prog="python -m pipeline.summary", description="A run in a short table.")
    parser.add_argument("run", type=place, help="run folder or URL")
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    table = rows(parser().parse_args(argv).run)
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:<{width}}  {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

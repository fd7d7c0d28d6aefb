"""A run in a short table, from what its folder and its shards say.

python -m pipeline.summary RUN
"""

from collections.abc import Sequence
from statistics import median

from pipeline.reporting import record
from pipeline.reporting.record import Record
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
        _score(run),
        ("run folder", folder),
    ]


def _score(run: Record) -> tuple[str, str]:
    """From the last evaluation of the run's checkpoint; before that, from the last one while training."""
    own = (line for line in run.evaluations if "model" not in line)  # released weights may be scored here too
    of_checkpoint = [line for line in own if line["split"] == run.config.data.validation]
    scores = of_checkpoint or run.validation
    name, title = ("map", "validation mAP") if run.several else ("top1", "validation top-1")
    return title, f"{scores[-1][name]:.1f} %" if scores else "not evaluated yet"


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

"""A run in a short table, from what its folder and its shards say.

python -m pipeline.summary RUN
"""

import argparse
import json
from collections.abc import Sequence
from statistics import median

from pipeline import config, journal
from sharding import manifest, storage
from sharding.errors import UserError, one_line_errors


def rows(folder: str) -> list[tuple[str, str]]:
    """The table of the run in `folder`: names and values."""
    settings = config.load(storage.join(folder, "config.yaml"), [])
    lines = journal.read(storage.join(folder, "metrics.jsonl"))
    steps = [line for line in lines if line["kind"] == "train"]
    if not steps:
        raise UserError(f"{folder}: no metrics yet")
    table = []
    for split in (settings.data.train, settings.data.validation):
        loaded = manifest.load(storage.join(settings.data.root, split))
        table.append((f"{split} videos", f"{loaded.samples} in {len(loaded.shards)} shards"))
    table += [
        ("steps", f"{steps[-1]['step']} of {settings.optim.global_batch} clips"),
        ("training speed", f"{median(line['clips_per_s'] for line in steps):.1f} clips/s"),
        ("validation top-1", _top1(folder, settings.data.validation, lines)),
        ("run folder", folder),
    ]
    return table


def _top1(folder: str, split: str, lines: list[journal.Line]) -> str:
    """From the last evaluation of the run's checkpoint; before that, from the last one while training."""
    url = storage.join(folder, f"scores-{split}.json")
    if storage.exists(url):
        return f"{json.loads(storage.read_bytes(url))['top1']:.1f} %"
    scores = [line["top1"] for line in lines if line["kind"] == "validation"]
    return f"{scores[-1]:.1f} %" if scores else "not evaluated yet"


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.summary", description="A run in a short table.")
    parser.add_argument("run", help="run folder or URL")
    table = rows(parser.parse_args(argv).run)
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:<{width}}  {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

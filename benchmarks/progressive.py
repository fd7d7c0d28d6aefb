"""The paper's progressive schedule in small: clips of 4 frame pairs first, then of 8 from those weights.

    blvnet-shard demo demo/videos
    blvnet-shard build --dataset sthv2 --annotations demo/videos --videos demo/videos/20bn-something-something-v2 \
        --out demo/shards
    python -m benchmarks.progressive demo/shards demo/progressive > benchmarks/results/progressive.md

On the demo set, at the demo's own size. The runs lie in the second folder, where a finished one is not repeated. The
longer model is evaluated before its first step too: with the batch-norm statistics of the shorter clips, and with those
of its own (`init.norm_batches`), which it then starts from.
"""

import platform
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import date
from itertools import islice

import torch

from pipeline import config as configuration
from pipeline import train
from pipeline.config import Config
from pipeline.data.clips import train_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.evaluation.predictions import predict
from pipeline.evaluation.scores import score
from pipeline.order import plan
from pipeline.ranks.distributed import World
from pipeline.run import journal
from pipeline.training.initialise import initialise
from pipeline.training.network import build_model
from pipeline.training.statistics import recompute
from sharding import storage
from sharding.format import manifest

CONFIG = "configs/demo.yaml"
COMMON = ["data.workers=0", "optim.decay_norms=false", "run.precision=fp32"]
SHORT = ["model.num_frames=8", "optim.epochs=24", "run.evaluate_epochs=8"]
# As in the paper the epochs are fewer and the rate falls in steps; with so few, it starts at a tenth.
LONG = [
    *("model.num_frames=16", "optim.epochs=4", "run.evaluate_epochs=2"),
    *("optim.lr=0.008", "optim.schedule=steps", "optim.step_epochs=2"),
]
NORM_BATCHES = 30  # an epoch
ALONE = World(0, 1, torch.device("cpu"))


def at_start(config: Config) -> float:
    """Validation top-1, in percent, of the network that `config` starts from."""
    split, clips = (
        manifest.load(storage.join(config.data.root, name))
        for name in (config.data.validation, config.data.train)
    )
    model = build_model(config, len(split.classes))
    initialise(model, config.init)
    if count := config.init.norm_batches:
        order = plan.Order(seed=0, lanes=1, window=config.data.window)
        stream = ClipStream(
            clips, train_cutter(config, clips.classes), order, Passes(config.optim.global_batch), 0, 1
        )
        recompute(model, (batch.clips for batch in islice(batches(stream, 0), count)), config, ALONE)
    predictions = predict(model, split, config, ALONE, batch=8)
    assert predictions
    return score(predictions).top1


def trained(overrides: list[str], folder: str) -> list[tuple[int, float]]:
    """Train with `overrides`; epochs done and validation top-1, in percent, at each evaluation."""
    with redirect_stdout(sys.stderr):
        status = train.main(["--config", CONFIG, *overrides, f"run.folder={folder}"])
    if status:
        raise SystemExit(status)
    lines = journal.read(storage.join(folder, "metrics.jsonl"))
    return [(line["epoch"] + 1, line["top1"]) for line in lines if line["kind"] == "validation"]


def report(short: list[tuple[int, float]], kept: float, start: float, long: list[tuple[int, float]]) -> str:
    """The table, in Markdown."""
    before, after = short[-1][1], long[-1][1]
    lines = [
        "# Progressive training on the demo set",
        "",
        f"{date.today()}, 2-core AMD EPYC virtual machine, Python {platform.python_version()}, one process; "
        "`python -m benchmarks.progressive`.",
        "",
        f"`{CONFIG}` in fp32: f4x2 for {short[-1][0]} epochs, then f8x2 from its weights for {long[-1][0]}.",
        "",
        "| model | epochs done | validation top-1, % |",
        "|---|---|---|",
        *(f"| f4x2 | {epoch} | {top1:.1f} |" for epoch, top1 in short),
        f"| f8x2, with the statistics of f4x2's clips | 0 | {kept:.1f} |",
        f"| f8x2, with those of its own (`init.norm_batches={NORM_BATCHES}`) | 0 | {start:.1f} |",
        *(f"| f8x2 | {epoch} | {top1:.1f} |" for epoch, top1 in long),
        "",
        f"Aims: f8x2 starts above f4x2's last score less 5 points: {'met' if start > before - 5 else 'missed'}; "
        f"and ends at or above it: {'met' if after >= before else 'missed'}.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """The command line: the folder of the demo's shards, and one for the two runs."""
    root, folder = argv
    torch.set_num_threads(1)
    common = [f"data.root={root}", *COMMON]
    short = trained([*common, *SHORT], f"{folder}/short")
    longer = [*common, *LONG, f"init.from={folder}/short"]
    renewed = [*longer, f"init.norm_batches={NORM_BATCHES}"]
    kept, start = (
        at_start(configuration.load(CONFIG, [*overrides, f"run.folder={folder}/long"]))
        for overrides in (longer, renewed)
    )
    print(report(short, kept, start, trained(renewed, f"{folder}/long")))


if __name__ == "__main__":
    main(sys.argv[1:])

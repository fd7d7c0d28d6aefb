"""The wait for an epoch's first batch, beside an ordinary step: where epochs meet, and behind a validation.

    python -m benchmarks.seams [FOLDER] > benchmarks/results/seams.md

A training step is a pause here, longer or shorter than the loader needs for a batch. The slow store answers each
request for a shard after `LATENCY_S`. FOLDER is that of `benchmarks.loader`.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import BinaryIO

from benchmarks.loader import prepare
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.loader import batches
from pipeline.data.shards import StoredShards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow

WORKERS, BATCH, EPOCHS, LATENCY_S = 2, 8, 9, 0.1
ORDER = plan.Order(seed=0, lanes=WORKERS, window=16)


@dataclass(frozen=True)
class Seams:
    """Seconds: what an ordinary step takes, its wait included; each wait for an epoch's first batch but the run's."""

    step: float
    waits: list[float]


@dataclass(frozen=True)
class FarShards(StoredShards):
    """Shards in a store that is far away."""

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        time.sleep(LATENCY_S)
        return super().open(shard, rows)


def measure(split: Manifest, config: Config, slow: bool, pause: float, validate: bool) -> Seams:
    """Go through `EPOCHS` epochs with a training step of `pause` seconds."""
    source = FarShards(split) if slow else None
    cutter = train_cutter(config, split.classes)
    stream = ClipStream(split, cutter, ORDER, Passes(BATCH, EPOCHS), 0, 1, source)
    made = batches(stream, WORKERS)
    steps: list[float] = []
    waits: list[float] = []
    next(made)
    asked = time.perf_counter()
    for batch in made:
        got = time.perf_counter()
        time.sleep(pause)
        if batch.step == 0:
            waits.append(got - asked)
        else:
            steps.append(time.perf_counter() - asked)
        if validate and batch.step == stream.passes.steps(split.samples) - 1:
            views = ClipStream(
                split, eval_cutter(config), ORDER, Passes(BATCH, drop_last=False), 0, 1, source
            )
            assert sum(len(view.numbers) for view in batches(views, WORKERS)) == split.samples
        asked = time.perf_counter()
    return Seams(median(steps), waits)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seams")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the inputs (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seams-benchmark.") as temporary:
        split = prepare(args.folder or Path(temporary))
        overrides = [f"data.root={Path(split.root).parent}", "run.folder=unused"]
        config = configuration.load("configs/blvnet-tam-50-f8x2-v2.yaml", overrides)
        loader_s = measure(split, config, slow=False, pause=0.0, validate=False).step
        print(
            f"# Seams: the wait for an epoch's first batch\n\n{date.today()}, {os.cpu_count()} cores, "
            f"{WORKERS} loader processes; `python -m benchmarks.seams`. {split.samples} videos, {BATCH} clips of "
            f"{config.model.num_frames} frames a step, {EPOCHS} epochs. Load average: {os.getloadavg()[0]:.1f}.\n\n"
            "| store | training step | between epochs | step, ms | wait, ms: median, longest | longest, in steps |\n"
            "|---|---|---|---|---|---|"
        )
        for slow in (False, True):
            for pause, name in (
                (0.0, "none: the loader is the limit"),
                (1.25 * loader_s, "1.25 of the loader's"),
            ):
                for validate in (False, True):
                    found = measure(split, config, slow, pause, validate)
                    longest = max(found.waits)
                    print(
                        f"| {'100 ms away' if slow else 'local'} | {name} | {'validation' if validate else 'nothing'} "
                        f"| {1000 * found.step:.0f} | {1000 * median(found.waits):.0f}, {1000 * longest:.0f} "
                        f"| {longest / found.step:.2f} |"
                    )
                    sys.stdout.flush()


if __name__ == "__main__":
    main()

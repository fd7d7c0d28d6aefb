"""Seconds to the first batch from a bucket: at the start of an epoch, and after a resume in the midst of one.

    python -m benchmarks.resume > benchmarks/results/resume.md

Each turn starts a loader anew at step 0, at 10 % and at 90 % of an epoch, and takes its first batch; the bucket is a
SeaweedFS server on this machine. Beside it what a loader has to do that cannot start in the middle: read the lane from
its start. The sides take turns; the figures are medians.
"""

import functools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipeline import config as configuration
from pipeline.data.clips import train_cutter
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding.format.manifest import Manifest
from tests import shards
from tests.stores import BUCKET, seaweedfs

SHARDS, FRAMES, WIDTH, HEIGHT = [50] * 16, 45, 455, 256
RANKS, BATCH, TURNS = 2, 16, 9
ORDER = plan.Order(seed=0, lanes=RANKS, window=256)
STEPS = plan.steps_in_epoch(sum(SHARDS), BATCH)
STARTS = {"step 0": 0, "10 %": STEPS // 10, "90 %": STEPS * 9 // 10}


@functools.cache
def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Coarse noise, of which a frame has about as many bytes as one of a film."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]


def first_batch(split: Manifest, step: int) -> float:
    """Seconds from a loader that starts at `step` to its first batch, on one of the ranks."""
    tree = {"data": {"root": "unused"}, "run": {"folder": "unused"}}
    cutter = train_cutter(configuration.override(tree, [], "benchmark"), split.classes)
    stream = ClipStream(split, cutter, ORDER, Passes(BATCH, first_step=step), 0, RANKS)
    start = time.perf_counter()
    made = batches(stream, workers=0)
    batch = next(made)
    seconds = time.perf_counter() - start
    made.close()
    assert (batch.step, len(batch.numbers)) == (step, BATCH // RANKS)
    return seconds


def replayed(split: Manifest, step: int) -> float:
    """Seconds to read the lane from its start up to the samples of that batch, without decoding any."""
    start = time.perf_counter()
    for _ in islice(LaneReader(split, epoch_of(split, ORDER, 0), 0), (step + 1) * BATCH // RANKS):
        pass
    return time.perf_counter() - start


def measure(split: Manifest) -> dict[str, list[float]]:
    """Each side's seconds, turn by turn, after one turn that does not count."""
    sides: dict[str, Callable[[], float]] = {
        name: partial(first_batch, split, step) for name, step in STARTS.items()
    }
    sides["90 %, read from the start"] = lambda: replayed(split, STARTS["90 %"])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(1 + TURNS):
        for name, side in sides.items():
            taken = side()
            if turn:
                seconds[name].append(taken)
        print(f"turn {turn} of {TURNS}", file=sys.stderr, flush=True)
    return seconds


def report(seconds: dict[str, list[float]], split: Manifest, load: float) -> str:
    """The table, in Markdown."""
    base = statistics.median(seconds["step 0"])
    lines = [
        "# Resume: seconds to the first batch from a bucket",
        "",
        f"{date.today()}, 2-core AMD EPYC virtual machine, Python {platform.python_version()}; "
        f"`python -m benchmarks.resume`. Load average before it: {load:.1f}.",
        "",
        f"{split.samples} samples of {FRAMES} frames, {WIDTH}x{HEIGHT}, {split.bytes / split.samples / 1e6:.2f} MB "
        f"each, in {len(SHARDS)} shards on a SeaweedFS S3 server of the same machine; rank 0 of {RANKS}, "
        f"{BATCH // RANKS} clips a batch, window {ORDER.window}, decoded in the training process. Medians of {TURNS} "
        "interleaved turns.",
        "",
        "| first batch at | seconds | lowest to highest | of step 0 |",
        "|---|---|---|---|",
    ]
    for name, taken in seconds.items():
        median = statistics.median(taken)
        lines.append(
            f"| {name} | {median:.3f} | {min(taken):.3f} to {max(taken):.3f} | {median / base:.2f} |"
        )
    lines += ["", "Aim: at most 1.5 times step 0, whatever the step. The last row decodes nothing."]
    return "\n".join(lines)


def main() -> None:
    """The command line, which has no options."""
    load = os.getloadavg()[0]
    with seaweedfs() as server:
        os.environ.update(server.environment())
        split = shards.make(
            f"s3://{BUCKET}/resume",
            SHARDS,
            frames=FRAMES,
            width=WIDTH,
            height=HEIGHT,
            picture=lambda sample, number, width, height: picture(number, width, height),
        )
        print(report(measure(split), split, load))


if __name__ == "__main__":
    main()

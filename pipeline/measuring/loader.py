"""How fast this machine makes training clips from this store, and what holds it back."""

import os
import time
from dataclasses import dataclass

import torch

from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.clips import train_cutter
from pipeline.data.films import shards_of
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Cutter, Passes
from pipeline.measuring.stopwatch import Stopwatch, TimedCutter, time_stages
from pipeline.order import position
from sharding.format import turbojpeg

_FOR_EVER = 1 << 30  # epochs
_CROWDED = 0.7  # of one process's rate: workers that are slower than this get in each other's way


@dataclass(frozen=True)
class LoaderFigures:
    """What was measured: rates in clips/s, `stages` in seconds a clip, `bytes_per_clip` as read from the store."""

    source: str
    workers: int
    cores: int
    bytes_per_clip: float
    first_batch_s: float
    "From the start of the loader, its processes included."
    rate: float
    "Of all workers together; of one process where there are none."
    alone: float
    "Of one process by itself, from reading to transforming."
    stages: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The stage that takes most of a clip's time."""
        return max(self.stages, key=self.stages.__getitem__)

    def lines(self) -> list[str]:
        """A short report; the last line is advice."""
        total = sum(self.stages.values())
        read = self.rate * self.bytes_per_clip / 1e6
        plural = "" if self.workers == 1 else "s"
        each = f" ({self.rate / self.workers:.1f} a worker)" if self.workers else ""
        return [
            self.source,
            f"{self.workers} worker{plural} on {self.cores} cores: {self.rate:.1f} clips/s{each}, {read:.1f} MB/s, "
            f"first batch after {self.first_batch_s:.1f} s",
            f"one process by itself: {self.alone:.1f} clips/s; its time a clip:",
            *(
                f"  {stage:<13} {1000 * seconds:7.2f} ms {seconds / total:5.0%}"
                for stage, seconds in self.stages.items()
            ),
            f"bottleneck: {self.bottleneck}",
            f"advice: {advice(self)}",
        ]


def advice(figures: LoaderFigures) -> str:
    """One sentence on what would make the loader faster."""
    workers, cores = figures.workers, figures.cores
    if workers > cores:
        return f"{workers} workers share {cores} cores: more cores would help, more workers would not"
    if workers > 1 and figures.rate / workers < _CROWDED * figures.alone:
        return (
            "workers are slower together than one alone: the store, the memory or other programs on the cores leave "
            "them no more; keep the shards nearer, and lower data.workers as long as the rate stays"
        )
    match figures.bottleneck:
        case "reading":
            return (
                "the store is slow to answer: raise data.workers, so that more requests are under way at a time, "
                "or keep the shards on a local disk"
            )
        case "verifying":
            return (
                "CRC-32 takes unusually long here: see whether other programs use up the memory's bandwidth"
            )
        case "decoding" if not turbojpeg.available():
            return (
                "whole frames are decoded, down to the crop's last row: install libturbojpeg 3, or "
                "blvnet-pipeline[turbo], and the crop alone is"
            )
        case stage:
            if workers < cores:
                return f"{stage} takes a core's time: raise data.workers, up to the {cores} cores of this machine"
            return (
                f"{stage} keeps all cores busy: more cores, or shards of a smaller --short-side, would help"
            )


def measure_loader(config: Config, seconds: float) -> LoaderFigures:
    """Measure the loader of one rank with the configuration's workers for `seconds`, and one process as long."""
    workers = config.data.workers
    split = splits.load(config.data.root, config.data.train, "data.train")
    splits.check_input(split, config.model)
    mixed = splits.load_mix(config.data, split)
    at = position.first(config, split, 1, tuple(one.share for one in mixed))
    passes = Passes(at.global_batch, _FOR_EVER)
    cutter = train_cutter(config, split.classes)

    def stream(cut: Cutter, consumers: int) -> ClipStream:
        shards = shards_of(config.data, split)
        return ClipStream(split, cut, at.order, passes, 0, consumers, shards, mixed=mixed)

    watch = Stopwatch()
    # What one worker does, in this process.
    clips, taken = time_stages(stream(TimedCutter(cutter, watch), max(workers, 1)), watch, seconds)
    stages = {stage: duration / clips for stage, duration in taken.items()}
    alone = 1 / sum(stages.values())
    first_batch_s, rate = _rate(stream(cutter, 1), workers, seconds)
    data, frames = config.data, config.model.num_frames
    more = f", and {len(mixed)} sets of data.mix" if mixed else ""
    return LoaderFigures(
        source=f"{split.root}: {split.samples} videos in {len(split.shards)} shards{more}; "
        f"clips of {frames} frames, {data.size}x{data.size}, {at.global_batch * data.repeats} a batch",
        workers=workers,
        cores=len(os.sched_getaffinity(0)),
        bytes_per_clip=splits.bytes_a_sample(split, mixed) / data.repeats,
        first_batch_s=first_batch_s,
        rate=rate,
        alone=alone,
        stages=stages,
    )


def _rate(stream: ClipStream, workers: int, seconds: float) -> tuple[float, float]:
    """Seconds to the first batch, and then clips/s for about `seconds`."""
    start = time.perf_counter()
    made = batches(stream, workers, pin=torch.cuda.is_available())
    next(made)
    first = time.perf_counter()
    clips = 0
    while not clips or time.perf_counter() - first < seconds:
        clips += next(made).clips.shape[:-4].numel()
    rate = clips / (time.perf_counter() - first)
    made.close()
    return first - start, rate

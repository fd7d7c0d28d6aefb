"""Measures the rates of this machine and its store: see `Rates`."""

import multiprocessing
import re
import time
from math import prod
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.clips import train_cutter
from pipeline.data.films import shards_of
from pipeline.data.loader import batches
from pipeline.data.samples import Sample
from pipeline.data.stream import ClipStream, Cutter, Passes
from pipeline.handover.shared import SLOTS
from pipeline.labels.tensors import Label
from pipeline.measuring.rates import Rates
from pipeline.measuring.stopwatch import one_thread
from pipeline.order import position

_FOR_EVER = 1 << 30  # epochs
_PRIVATE = re.compile(r"^Private_\w+: +(\d+) kB$", re.MULTILINE)


class _Nothing:
    """A cutter that leaves the frames as they are: what remains is reading and checking."""

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """Of a pixel."""
        return (1, 3, 1, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        return sample.row.label


def measure_rates(config: Config, seconds: float) -> Rates:
    """Three passes of about `seconds`: clips in this process, clips by loader processes, and reading alone."""
    split = splits.load(config.data.root, config.data.train, "data.train")
    mixed = splits.load_mix(config.data, split)
    at = position.first(config, split, 1, tuple(one.share for one in mixed))
    workers = max(config.data.workers, 1)

    def stream(cut: Cutter, consumers: int = 1) -> ClipStream:
        shards = shards_of(config.data, split)
        passes = Passes(at.global_batch, _FOR_EVER)
        return ClipStream(split, cut, at.order, passes, 0, consumers, shards, mixed=mixed)

    cutter = train_cutter(config, split.classes)
    with one_thread():
        alone = _Pass(stream(cutter, workers), 0, seconds)
    loaded = _Pass(stream(cutter), workers, seconds)
    read = _Pass(stream(_Nothing()), workers, seconds)
    data, frames, repeats = config.data, config.model.num_frames, config.data.repeats
    sample_bytes = splits.bytes_a_sample(split, mixed)
    return Rates(
        samples=at.samples_of(split),
        sample_bytes=sample_bytes,
        clips_a_sample=repeats,
        clip_bytes=prod((frames, config.model.in_channels, data.size, data.size)),
        worker_s=alone.process_s / alone.samples / repeats,
        handover_s=loaded.thread_s / loaded.samples / repeats,
        store_mb_s=read.samples * sample_bytes / read.seconds / 1e6,
        worker_bytes=loaded.worker_bytes,
        steps_ahead=SLOTS,
    )


class _Pass:
    """What about `seconds` of a stream took, after its first batch: by the clock, of this thread, of this process."""

    def __init__(self, stream: ClipStream, workers: int, seconds: float) -> None:
        before = {child.pid for child in multiprocessing.active_children()}
        made = batches(stream, workers)
        next(made)
        start = time.perf_counter(), time.thread_time(), time.process_time()
        self.samples = 0
        while not self.samples or time.perf_counter() - start[0] < seconds:
            self.samples += len(next(made).numbers)
        self.seconds = time.perf_counter() - start[0]
        self.thread_s, self.process_s = time.thread_time() - start[1], time.process_time() - start[2]
        pids = [child.pid for child in multiprocessing.active_children() if child.pid not in before]
        self.worker_bytes = round(np.mean([_private_bytes(pid) for pid in pids if pid])) if pids else 0
        made.close()


def _private_bytes(pid: int) -> int:
    return 1024 * sum(map(int, _PRIVATE.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())))

"""Time by stage: where the time of a clip goes on its way from the store to the training process."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from isal import isal_zlib
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.clips import TrainCutter
from pipeline.data.inputs import FrameDecoder
from pipeline.data.loader import batches
from pipeline.data.samples import Sample
from pipeline.data.stream import ClipStream
from pipeline.data.transforms import Box
from pipeline.labels.tensors import Label
from sharding.format.mjpeg import Colours

STAGES = ("reading", "verifying", "decoding", "transforming")


class Stopwatch:
    """Adds up the elapsed time of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block as `name`'s."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class TimedDecoder(FrameDecoder):
    """A `FrameDecoder` on the clock, as "decoding"."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._watch = watch

    def __call__(
        self, sample: Sample, indices: NDArray[np.int64], box: Box | None = None, colours: Colours = "RGB"
    ) -> Tensor:
        with self._watch.stage("decoding"):
            return super().__call__(sample, indices, box, colours)


class TimedCutter:
    """A training cutter on the clock: "cutting" is all that it does, "verifying" a second CRC-32 of each blob."""

    def __init__(self, cutter: TrainCutter, watch: Stopwatch) -> None:
        self._cutter = dataclasses.replace(cutter, decode=TimedDecoder(watch))
        self._watch = watch

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """The training cutter's."""
        return self._cutter.shape(sample)

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        with self._watch.stage("verifying"):
            isal_zlib.crc32(sample.blob)
        with self._watch.stage("cutting"):
            return self._cutter(sample, rng, out)


def time_stages(stream: ClipStream, watch: Stopwatch, seconds: float) -> tuple[int, dict[str, float]]:
    """Make clips in this process for about `seconds`; returns how many, and the seconds that each stage took.

    `stream` cuts with a `TimedCutter` on `watch`. "Reading" is what remains of a clip's time: opening shards, reading,
    unpacking.
    """
    made = batches(stream, workers=0)
    clips, start = 0, time.perf_counter()
    with one_thread():
        while not clips or time.perf_counter() - start < seconds:
            with watch.stage("making"):
                part = next(made)
            clips += part.clips.shape[:-4].numel() if part.numbers else 0
    made.close()
    taken = watch.seconds
    found = {
        # The CRC-32 was computed twice: once by the reader, and once on the clock.
        "reading": taken["making"] - taken["cutting"] - 2 * taken["verifying"],
        "verifying": taken["verifying"],
        "decoding": taken["decoding"],
        "transforming": taken["cutting"] - taken["decoding"],
    }
    return clips, {stage: max(found[stage], 0.0) for stage in STAGES}


@contextmanager
def one_thread() -> Iterator[None]:
    """What loader processes have. More would wait for one another where other programs have the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

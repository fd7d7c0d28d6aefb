"""A training cutter that takes its time."""

import time
from typing import ClassVar

import numpy as np
from torch import Tensor

from pipeline.data.clips import TrainCutter
from pipeline.data.samples import Sample
from pipeline.labels.tensors import Label


class SlowCutter(TrainCutter):
    """Takes `SECONDS` longer for each clip."""

    SECONDS: ClassVar[float] = 1.5

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        time.sleep(self.SECONDS)
        return super().__call__(sample, rng, out)

"""A training cutter that takes its time."""

import time

import numpy as np
from torch import Tensor

from pipeline.data.clips import TrainCutter
from pipeline.data.samples import Sample
from pipeline.labels.tensors import Label


class SlowCutter(TrainCutter):
    """Takes a second and a half longer for each clip."""

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        time.sleep(1.5)
        return super().__call__(sample, rng, out)

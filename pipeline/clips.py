"""How one sample becomes one clip: choose frames, decode only those, crop, resize, flip."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import sampling
from pipeline.config import Config
from pipeline.lanes import Sample
from pipeline.transforms import EvalTransform, TrainTransform, mirror_labels
from sharding import mjpeg
from sharding.errors import UserError

FrameRule = Callable[[int, int, np.random.Generator], NDArray[np.int64]]
_FRAME_RULES: dict[str, FrameRule] = {
    "segment": sampling.segment_indices,
    "reference": sampling.reference_indices,
}


@dataclass(frozen=True)
class TrainCutter:
    """Random frames, crop and flip; see `pipeline.stream.Cutter`."""

    num_frames: int
    size: int
    frame_rule: FrameRule
    transform: TrainTransform

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with a random clip of `sample`; returns the label that goes with its flip."""
        frames = decoded(sample, self.frame_rule(sample.row.frames, self.num_frames, rng))
        clip, label = self.transform(frames, _label(sample), rng)
        out.copy_(clip)
        return label


@dataclass(frozen=True)
class EvalCutter:
    """The middle frame of each segment and the centre crop: one view, nothing random."""

    num_frames: int
    size: int
    transform: EvalTransform

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with the view of `sample`; returns its label, None in a test split."""
        frames = decoded(sample, sampling.uniform_indices(sample.row.frames, self.num_frames)[0])
        out.copy_(self.transform(frames)[0])
        return sample.row.label


def train_cutter(config: Config, classes: list[str]) -> TrainCutter:
    """The training clips that `config` asks for; `classes` decide what a flip does to a label."""
    data = config.data
    transform = TrainTransform(data.size, data.scales, data.flip, mirror_labels(classes))
    return TrainCutter(config.model.num_frames, data.size, _FRAME_RULES[data.sampling], transform)


def eval_cutter(config: Config) -> EvalCutter:
    """The validation clips that `config` asks for."""
    data = config.data
    return EvalCutter(config.model.num_frames, data.size, EvalTransform(data.size, data.short_side))


def decoded(sample: Sample, indices: NDArray[np.int64]) -> Tensor:
    """Frames `indices` of `sample`, uint8 (frames, 3, H, W) with channels-last memory."""
    frames = mjpeg.decode(sample.blob, sample.meta["offsets"], indices.tolist())
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _label(sample: Sample) -> int:
    if sample.row.label is None:
        raise UserError(f"sample {sample.row.key} has no label; train on a labelled split")
    return sample.row.label

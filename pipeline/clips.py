"""How one sample becomes one clip: choose frames, decode only those, crop, resize, flip."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import sampling
from pipeline.config import Config
from pipeline.samples import DamagedError, Sample
from pipeline.transforms import EvalTransform, TrainTransform, crop_and_resize, mirror_bgr, mirror_labels
from sharding import mjpeg
from sharding.errors import UserError

FrameRule = Callable[[int, int, np.random.Generator], NDArray[np.int64]]
_FRAME_RULES: dict[str, FrameRule] = {
    "segment": sampling.segment_indices,
    "reference": sampling.reference_indices,
}


class FrameDecoder:
    """Decodes chosen frames of samples into one buffer that is used again and again.

    Fresh memory for every clip would cost a tenth of its decoding (`benchmarks/loader.py`).
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def __call__(
        self, sample: Sample, indices: NDArray[np.int64], rows: int | None = None, bgr: bool = False
    ) -> Tensor:
        """Frames `indices`, uint8 (frames, 3, H, W) with channels-last memory, valid until the next call.

        At least the upper `rows` of each are there, all by default; they are RGB, or BGR. Raises `DamagedError`.
        """
        height, width = sample.meta["height"], sample.meta["width"]
        if rows is not None:
            height = min(height, rows + mjpeg.INEXACT_ROWS)
        shape = (len(indices), height, width, 3)
        if self._buffer.size < prod(shape):
            self._buffer = np.empty(prod(shape), np.uint8)
        frames = self._buffer[: prod(shape)].reshape(shape)
        try:
            mjpeg.decode(sample.blob, sample.meta["offsets"], indices.tolist(), frames, bgr)
        except ValueError as error:
            raise DamagedError(f"{sample.url}: sample {sample.row.key} cannot be decoded: {error}") from None
        return torch.from_numpy(frames).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class TrainCutter:
    """Random frames, crop and flip; see `pipeline.stream.Cutter`."""

    num_frames: int
    size: int
    frame_rule: FrameRule
    transform: TrainTransform
    decode: FrameDecoder

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with a random clip of `sample`; returns the label that goes with its flip."""
        indices = self.frame_rule(sample.row.frames, self.num_frames, rng)
        box, flip, label = self.transform.choose(
            sample.meta["width"], sample.meta["height"], _label(sample), rng
        )
        _, y, _, h = box
        # A clip that will be flipped is decoded as BGR: see `mirror_bgr`.
        crop_and_resize(self.decode(sample, indices, rows=y + h, bgr=flip), box, out)
        if flip:
            mirror_bgr(out)
        return label


@dataclass(frozen=True)
class EvalCutter:
    """The middle frame of each segment and the centre crop: one view, nothing random."""

    num_frames: int
    size: int
    transform: EvalTransform
    decode: FrameDecoder

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with the view of `sample`; returns its label, None in a test split."""
        frames = self.decode(sample, sampling.uniform_indices(sample.row.frames, self.num_frames)[0])
        self.transform(frames, out[None])
        return sample.row.label


def train_cutter(config: Config, classes: list[str]) -> TrainCutter:
    """The training clips that `config` asks for; `classes` decide what a flip does to a label."""
    data = config.data
    transform = TrainTransform(data.size, data.scales, data.flip, mirror_labels(classes))
    return TrainCutter(
        config.model.num_frames, data.size, _FRAME_RULES[data.sampling], transform, FrameDecoder()
    )


def eval_cutter(config: Config) -> EvalCutter:
    """The validation clips that `config` asks for."""
    data = config.data
    return EvalCutter(
        config.model.num_frames, data.size, EvalTransform(data.size, data.short_side), FrameDecoder()
    )


def _label(sample: Sample) -> int:
    if sample.row.label is None:
        raise UserError(f"sample {sample.row.key} has no label; train on a labelled split")
    return sample.row.label

"""How one sample becomes one clip: choose frames, decode only those, crop, resize, flip."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Config, Data, Views
from pipeline.data import sampling
from pipeline.data.frame_order import FrameOrder, drawn_by, reordered
from pipeline.data.samples import DamagedError, Sample
from pipeline.data.transforms import (
    Box,
    EvalTransform,
    TrainTransform,
    around,
    mirror_bgr,
    mirror_labels,
    resize_into,
    scaled_size,
)
from sharding.errors import UserError
from sharding.format import header, mjpeg

FrameRule = Callable[[int, int, np.random.Generator], NDArray[np.int64]]


class FrameDecoder:
    """Decodes chosen frames of samples into one buffer that is used again and again.

    Fresh memory for every clip would cost a tenth of its decoding (`benchmarks/loader.py`).
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def __call__(
        self, sample: Sample, indices: NDArray[np.int64], box: Box | None = None, bgr: bool = False
    ) -> Tensor:
        """`box` of frames `indices`, uint8 (frames, 3, h, w) with channels-last pixels, valid until the next call.

        By default it is all of them; they are RGB, or BGR. Raises `DamagedError`.
        """
        width, height = size = sample.meta.width, sample.meta.height
        x, y, w, h = box = box or (0, 0, width, height)
        region = mjpeg.region_of(box, width, height)
        try:
            frames = mjpeg.decode(
                sample.blob, sample.meta.offsets, indices.tolist(), size, bgr, region, self._room
            )
        except ValueError as error:
            raise DamagedError(f"{sample.url}: sample {sample.row.key} cannot be decoded: {error}") from None
        inside = frames[:, y - region.y : y - region.y + h, x - region.x : x - region.x + w]
        return torch.from_numpy(inside).permute(0, 3, 1, 2)

    def _room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        if self._buffer.size < prod(shape):
            self._buffer = np.empty(prod(shape), np.uint8)
        return self._buffer[: prod(shape)].reshape(shape)


@dataclass(frozen=True)
class TrainCutter:
    """Random frames, crop and flip; see `pipeline.data.stream.Cutter`."""

    num_frames: int
    size: int
    frame_rule: FrameRule
    transform: TrainTransform
    decode: FrameDecoder

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(frames, 3, size, size), whatever the sample."""
        return self.num_frames, 3, self.size, self.size

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with a random clip of `sample`; returns the label that goes with its flip."""
        indices = self.frame_rule(sample.row.frames, self.num_frames, rng)
        box, flip, label = self.transform.choose(sample.meta.width, sample.meta.height, _label(sample), rng)
        # A clip that will be flipped is decoded as BGR: see `mirror_bgr`.
        resize_into(self.decode(sample, indices, box, bgr=flip), out)
        if flip:
            mirror_bgr(out)
        return label


@dataclass(frozen=True)
class RepeatedCutter(TrainCutter):
    """Several clips of each sample, of the same frames and with the same flip, each with a crop of its own.

    Decoding, most of a clip's time, is done once: of the box around all crops. The first clip is `TrainCutter`'s.
    """

    repeats: int

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(repeats, frames, 3, size, size), whatever the sample."""
        return self.repeats, *super().shape(sample)

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with random clips of `sample`; returns the label that goes with their flip."""
        width, height = sample.meta.width, sample.meta.height
        indices = self.frame_rule(sample.row.frames, self.num_frames, rng)
        first, *more = [
            self.transform.choose(width, height, _label(sample), rng) for _ in range(self.repeats)
        ]
        boxes = [first.box, *(choice.box for choice in more)]
        left, top, *_ = region = around(boxes)
        frames = self.decode(sample, indices, region, bgr=first.flip)
        for (x, y, w, h), clip in zip(boxes, out, strict=True):
            resize_into(frames[:, :, y - top : y - top + h, x - left : x - left + w], clip)
            if first.flip:
                mirror_bgr(clip)
        return first.label


@dataclass(frozen=True)
class EvalCutter:
    """The views of the test protocol, with the frames of each clip in `order`: one decoding, nothing random."""

    num_frames: int
    views: Views
    transform: EvalTransform
    decode: FrameDecoder
    order: FrameOrder

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(views, frames, 3, height, width); of whole frames, the size follows from the sample's.

        Raises `DamagedError` where frames are so narrow that, scaled to the shorter side, they would be too large.
        """
        size = sample.meta.width, sample.meta.height
        if fault := header.size_fault(*scaled_size(*size, self.transform.shorter_side)):
            raise DamagedError(f"{sample.url}: sample {sample.row.key}, once scaled: {fault}")
        width, height = self.transform.view_size(*size)
        return self.views.clips * self.views.crops, self.num_frames, 3, height, width

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        """Fill `out` with the views of `sample`; returns its label, None in a test split."""
        clips = reordered(self._clips(sample.row.frames, sample.row.key), self.order, sample.row.key)
        needed, places = np.unique(clips, return_inverse=True)
        self.transform(self.decode(sample, needed), places.reshape(clips.shape), out)
        return sample.row.label

    def _clips(self, video_frames: int, key: str) -> NDArray[np.int64]:
        match self.views.sampling:
            case "dense":
                stride = self.views.dense_stride
                return sampling.dense_indices(video_frames, self.num_frames, stride, self.views.clips)
            case "random":
                rng = drawn_by(key)
                clips = range(self.views.clips)
                return np.stack([sampling.segment_indices(video_frames, self.num_frames, rng) for _ in clips])
        return sampling.uniform_indices(video_frames, self.num_frames, self.views.clips)


def train_cutter(config: Config, classes: list[str]) -> TrainCutter:
    """The training clips that `config` asks for; `classes` decide what a flip does to a label."""
    data = config.data
    transform = TrainTransform(data.size, data.scales, data.flip, mirror_labels(classes))
    parts = (config.model.num_frames, data.size, _frame_rule(data), transform, FrameDecoder())
    return TrainCutter(*parts) if data.repeats == 1 else RepeatedCutter(*parts, data.repeats)


def _frame_rule(data: Data) -> FrameRule:
    rules: dict[str, FrameRule] = {
        "segment": sampling.segment_indices,
        "reference": sampling.reference_indices,
        "dense": partial(sampling.random_dense_indices, stride=data.dense_stride),
    }
    return rules[data.sampling]


def eval_cutter(config: Config, order: FrameOrder = "forward") -> EvalCutter:
    """The views that `config` asks for, with the frames of each clip in `order`."""
    data, views = config.data, config.views
    size = data.size if views.size is None else views.size
    transform = EvalTransform(None if size == "full" else size, data.short_side, views.crops)
    return EvalCutter(config.model.num_frames, views, transform, FrameDecoder(), order)


def _label(sample: Sample) -> int:
    if sample.row.label is None:
        raise UserError(f"sample {sample.row.key} has no label; train on a labelled split")
    return sample.row.label

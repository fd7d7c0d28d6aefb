"""How one sample becomes one clip: choose frames, decode only those, crop, resize, flip."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Config, Data, Views
from pipeline.data import sampling
from pipeline.data.inputs import INPUTS, FrameDecoder, Input
from pipeline.data.samples import DamagedError, Sample
from pipeline.data.sampling import FrameOrder, drawn_by, reordered
from pipeline.data.transforms import EvalTransform, TrainTransform, around, mirror_labels, scaled_size
from pipeline.labels.tensors import Label
from sharding.errors import UserError
from sharding.format import header

FrameRule = Callable[[int, int, np.random.Generator], NDArray[np.int64]]


@dataclass(frozen=True)
class TrainCutter:
    """Random frames, crop and flip; see `pipeline.data.stream.Cutter`."""

    num_frames: int
    size: int
    frame_rule: FrameRule
    transform: TrainTransform
    decode: FrameDecoder
    input: Input

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(frames, channels, size, size), whatever the sample."""
        return self.num_frames, self.input.channels, self.size, self.size

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        """Fill `out` with a random clip of `sample`; returns the label that goes with its flip."""
        frames = self.frame_rule(self.input.frames(sample), self.num_frames, rng)
        box, flip, label = self.transform.choose(sample.meta.width, sample.meta.height, _label(sample), rng)
        self.input.cut(self.decode, sample, frames, box, flip)(box, out)
        return label


@dataclass(frozen=True)
class RepeatedCutter(TrainCutter):
    """Several clips of each sample, of the same frames and with the same flip, each with a crop of its own.

    Decoding, most of a clip's time, is done once: of the box around all crops. The first clip is `TrainCutter`'s.
    """

    repeats: int

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(repeats, frames, channels, size, size), whatever the sample."""
        return self.repeats, *super().shape(sample)

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        """Fill `out` with random clips of `sample`; returns the label that goes with their flip."""
        width, height = sample.meta.width, sample.meta.height
        frames = self.frame_rule(self.input.frames(sample), self.num_frames, rng)
        first, *more = [
            self.transform.choose(width, height, _label(sample), rng) for _ in range(self.repeats)
        ]
        boxes = [first.box, *(choice.box for choice in more)]
        cut = self.input.cut(self.decode, sample, frames, around(boxes), first.flip)
        for box, clip in zip(boxes, out, strict=True):
            cut(box, clip)
        return first.label


@dataclass(frozen=True)
class EvalCutter:
    """The views of the test protocol, with the frames of each clip in `order`: one decoding, the same in every run.

    `drawn`: how training draws frames, which random clips follow too, as in the reference.
    """

    num_frames: int
    views: Views
    transform: EvalTransform
    decode: FrameDecoder
    order: FrameOrder
    input: Input
    group: int
    drawn: FrameRule

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(views, frames, channels, height, width); of whole frames, the size follows from the sample's.

        Raises `DamagedError` where frames are so narrow that, scaled to the shorter side, they would be too large.
        """
        size = sample.meta.width, sample.meta.height
        if fault := header.size_fault(*scaled_size(*size, self.transform.shorter_side)):
            raise DamagedError(f"{sample.url}: sample {sample.row.key}, once scaled: {fault}")
        width, height = self.transform.view_size(*size)
        return self.views.clips * self.views.crops, self.num_frames, self.input.channels, height, width

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        """Fill `out` with the views of `sample`; returns its label, None in a test split."""
        key = sample.row.key
        clips = reordered(self._clips(self.input.frames(sample), key), self.order, key)
        pictures = self.input.pictures(clips, sample)
        needed, places = np.unique(pictures, return_inverse=True)
        decoded = self.decode(sample, needed, colours=self.input.colours)
        self.transform(decoded, places.reshape(pictures.shape), out, self.input.fill)
        return sample.row.label

    def _clips(self, video_frames: int, key: str) -> NDArray[np.int64]:
        match self.views.sampling:
            case "dense":
                stride = self.views.dense_stride
                return sampling.dense_indices(video_frames, self.num_frames, stride, self.views.clips)
            case "random":
                rng = drawn_by(key)
                clips = [self.drawn(video_frames, self.num_frames, rng) for _ in range(self.views.clips)]
                return np.stack(clips)
        return sampling.uniform_indices(video_frames, self.num_frames, self.views.clips, self.group)


def train_cutter(config: Config, classes: list[str]) -> TrainCutter:
    """The training clips that `config` asks for; `classes` decide what a flip does to a label."""
    data = config.data
    transform = TrainTransform(data.size, data.scales, data.flip, mirror_labels(classes))
    of = INPUTS[config.model.in_channels]
    parts = (config.model.num_frames, data.size, _frame_rule(data), transform, FrameDecoder(), of)
    return TrainCutter(*parts) if data.repeats == 1 else RepeatedCutter(*parts, data.repeats)


def _frame_rule(data: Data) -> FrameRule:
    rules: dict[str, FrameRule] = {
        "segment": partial(sampling.segment_indices, group=data.frames_per_group),
        "reference": partial(sampling.reference_indices, group=data.frames_per_group),
        "dense": partial(sampling.random_dense_indices, stride=data.dense_stride),
    }
    return rules[data.sampling]


def eval_cutter(config: Config, order: FrameOrder = "forward") -> EvalCutter:
    """The views that `config` asks for, with the frames of each clip in `order`."""
    data, views = config.data, config.views
    size = data.size if views.size is None else views.size
    transform = EvalTransform(None if size == "full" else size, data.short_side, views.crops)
    of, group = INPUTS[config.model.in_channels], data.frames_per_group
    parts = (config.model.num_frames, views, transform, FrameDecoder(), order, of, group)
    return EvalCutter(*parts, _frame_rule(data))


def _label(sample: Sample) -> int | tuple[int, ...]:
    if sample.row.label is None:
        raise UserError(f"sample {sample.row.key} has no label; train on a labelled split")
    return sample.row.label

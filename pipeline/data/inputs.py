"""What a clip's frame is made of: a picture in colour, or ten pictures of optical flow.

Flow lies in a shard as gray pictures, x and y by turns, two a step from one frame of the film to the next. A clip's
frame at a position is the five steps from there on: its channels are x1, y1, ..., x5, y5, as in two-stream networks
(Simonyan and Zisserman, 2014; Wang et al., TSN, 2016).
"""

from collections.abc import Callable
from math import prod
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import FLOW_CHANNELS
from pipeline.data.samples import DamagedError, Sample
from pipeline.data.sampling import Indices
from pipeline.data.transforms import Box, Fill, fill, fill_flow, mirrored_bgr, resize, resize_into
from sharding.format import mjpeg
from sharding.format.mjpeg import Colours

STEPS = FLOW_CHANNELS // 2
"""Steps of flow in one frame of a clip."""

Cut = Callable[[Box, Tensor], None]
"""Fills uint8 (frames, channels, size, size) with a box of the frames, resized and as they are to be flipped."""


class FrameDecoder:
    """Decodes chosen frames of samples into one buffer that is used again and again.

    Fresh memory for every clip would cost a tenth of its decoding (`benchmarks/loader.py`).
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def __call__(
        self, sample: Sample, indices: NDArray[np.int64], box: Box | None = None, colours: Colours = "RGB"
    ) -> Tensor:
        """`box` of frames `indices`, uint8 (frames, channels, h, w), channels-last, valid until the next call.

        By default it is all of them. There are three channels, or one of GRAY. Raises `DamagedError`.
        """
        width, height = sample.meta.width, sample.meta.height
        x, y, w, h = box = box or (0, 0, width, height)
        region = mjpeg.region_of(box, width, height)
        try:
            frames = sample.decode(indices.tolist(), colours, region, self._room)
        except ValueError as error:
            raise DamagedError(f"{sample.url}: sample {sample.row.key} cannot be decoded: {error}") from None
        inside = frames[:, y - region.y : y - region.y + h, x - region.x : x - region.x + w]
        return torch.from_numpy(inside).permute(0, 3, 1, 2)

    def _room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        if self._buffer.size < prod(shape):
            self._buffer = np.empty(prod(shape), np.uint8)
        return self._buffer[: prod(shape)].reshape(shape)


class Input(Protocol):
    """How a sample's pictures become the frames of clips."""

    channels: int
    colours: Colours
    fill: Fill

    def frames(self, sample: Sample) -> int:
        """How many frames a clip can be chosen from. Raises `DamagedError`."""
        ...

    def pictures(self, frames: Indices, sample: Sample) -> Indices:
        """The numbers of the pictures that each of `frames` is made of: of the same shape, or with one axis more."""
        ...

    def cut(self, decode: FrameDecoder, sample: Sample, frames: Indices, region: Box, flip: bool) -> Cut:
        """Decode `region` of `frames`; returns what cuts boxes out of it. Valid until the next call."""
        ...


class ColourInput:
    """Each picture is a frame of three channels, RGB."""

    channels = 3
    colours: Colours = "RGB"
    fill: Fill = staticmethod(fill)

    def frames(self, sample: Sample) -> int:
        return sample.row.frames

    def pictures(self, frames: Indices, sample: Sample) -> Indices:
        return frames

    def cut(self, decode: FrameDecoder, sample: Sample, frames: Indices, region: Box, flip: bool) -> Cut:
        # A clip that will be flipped is decoded as BGR: see `mirrored_bgr`.
        decoded = decode(sample, frames, region, "BGR" if flip else "RGB")

        def cut(box: Box, out: Tensor) -> None:
            inside = _inside(decoded, box, region)
            resize_into(mirrored_bgr(inside) if flip else inside, out)

        return cut


class FlowInput:
    """Five steps, two gray pictures each, are a frame of ten channels; a mirrored one has the other sign of x."""

    channels = FLOW_CHANNELS
    colours: Colours = "GRAY"
    fill: Fill = staticmethod(fill_flow)

    def frames(self, sample: Sample) -> int:
        if sample.row.frames % 2:
            raise DamagedError(
                f"{sample.url}: sample {sample.row.key} has {sample.row.frames} pictures, an odd number; flow has "
                "two a step"
            )
        return positions(sample.row.frames)

    def pictures(self, frames: Indices, sample: Sample) -> Indices:
        return pictures_of(frames, sample.row.frames)

    def cut(self, decode: FrameDecoder, sample: Sample, frames: Indices, region: Box, flip: bool) -> Cut:
        wanted = self.pictures(frames, sample)
        # Neighbouring frames share steps: each picture is decoded and resized once.
        needed, places = np.unique(wanted, return_inverse=True)
        decoded = decode(sample, needed, region, self.colours)
        of_channel = torch.from_numpy(places.reshape(wanted.shape))

        def cut(box: Box, out: Tensor) -> None:
            height, width = out.shape[-2:]
            fill_flow(resize(_inside(decoded, box, region), width, height), of_channel, flip, out)

        return cut


INPUTS: dict[int, Input] = {one.channels: one for one in (ColourInput(), FlowInput())}
"""By `model.in_channels`."""


def positions(pictures: int) -> int:
    """The places in so many pictures of flow at which five steps begin.

    Of a video with fewer steps there is one place, and its last step comes again.
    """
    return max(1, pictures // 2 - STEPS + 1)


def pictures_of(places: Indices, pictures: int) -> Indices:
    """The ten pictures at each of `places`: int64 (*places.shape, 10), of `pictures` in all."""
    steps: Indices = np.minimum(places[..., None] + np.arange(STEPS), pictures // 2 - 1)
    return (2 * steps[..., None] + np.arange(2)).reshape(*places.shape, FLOW_CHANNELS)


def _inside(frames: Tensor, box: Box, region: Box) -> Tensor:
    """`box` of frames of which only `region` is there."""
    x, y, w, h = box
    x, y = x - region[0], y - region[1]
    return frames[:, :, y : y + h, x : x + w]

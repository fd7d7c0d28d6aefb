"""What a transform is given: one video of a shard, its JPEGs as they lie there and its frames as they are decoded."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.inputs import FrameDecoder
from pipeline.data.samples import Sample
from pipeline.data.transforms import Box
from pipeline.labels.tensors import Label
from sharding.errors import UserError
from sharding.foreign.headers import is_jpeg


class Video:
    """One sample of a shard set, whole by its CRC-32.

    `label`: the number of its class, several of them, or None. `frames`: how many there are, of `width` times `height`
    pixels. `fps` and `text` are what the builder knew of the source, or None.
    """

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        row, meta = sample.row, sample.meta
        self.key: str = row.key
        self.url: str = sample.url
        self.label: Label = row.label
        self.frames: int = row.frames
        self.width: int = meta.width
        self.height: int = meta.height
        self.fps: Any = meta.fps
        self.text: Any = meta.text

    def decode(
        self, which: Sequence[int] | NDArray[Any] | None = None, box: Box | None = None
    ) -> NDArray[np.uint8]:
        """Frames `which`, or all: uint8 (n, height, width, 3), RGB, in memory of their own.

        With `box`, (x, y, width, height) in pixels, that part of them, and little more is decoded. Raises IndexError
        for a frame that is not there, ValueError for a box that does not lie in the frames, `UserError` for a damaged
        frame.
        """
        if box is not None and not _lies_in(box, self.width, self.height):
            raise ValueError(f"the box {tuple(box)} does not lie in frames of {self.width}x{self.height}")
        decoded = FrameDecoder()(self._sample, np.array(self._numbers(which), np.int64), box)
        frames: NDArray[np.uint8] = decoded.permute(0, 2, 3, 1).numpy()
        return frames

    def jpegs(self, which: Sequence[int] | NDArray[Any] | None = None) -> list[bytes]:
        """Frames `which`, or all, as the JPEG files that they are stored as.

        Raises IndexError for a frame that is not there, and `UserError` for one that is stored otherwise.
        """
        numbers = self._numbers(which)
        pictures = self._sample.pictures()
        if pictures is None:
            raise UserError(f"{self.url}: sample {self.key}: a film has no JPEG a frame; take decode()")
        found = [bytes(pictures[number]) for number in numbers]
        other = next((n for n, jpeg in zip(numbers, found, strict=True) if not is_jpeg(jpeg)), None)
        if other is not None:
            raise UserError(f"{self.url}: sample {self.key}: frame {other} is no JPEG; take decode()")
        return found

    def _numbers(self, which: Sequence[int] | NDArray[Any] | None) -> list[int]:
        numbers = range(self.frames) if which is None else [operator.index(number) for number in which]
        if other := [number for number in numbers if not 0 <= number < self.frames]:
            raise IndexError(f"frame {other[0]} of {self.frames}")
        return list(numbers)


def _lies_in(box: Box, width: int, height: int) -> bool:
    x, y, w, h = box
    return x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height


Transform = Callable[[Video, np.random.Generator], Any]
"""Makes of a video what a model takes: an array, a tensor, a number, or a dict of such, of one shape for all videos.

The generator's numbers follow from the seed, the epoch and the sample alone, whichever process asks for them.
"""

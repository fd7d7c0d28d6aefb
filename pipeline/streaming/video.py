"""What a transform is given: one video of a shard, its JPEGs as they lie there and its frames as they are decoded."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.inputs import FrameDecoder
from pipeline.data.samples import Sample
from pipeline.data.transforms import Box
from pipeline.labels.tensors import Label
from sharding.errors import UserError


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
        for a frame that is not there, and `UserError` for a damaged one.
        """
        numbers = np.arange(self.frames) if which is None else np.asarray(which, np.int64)
        decoded = FrameDecoder()(self._sample, numbers, box)
        frames: NDArray[np.uint8] = decoded.permute(0, 2, 3, 1).numpy()
        return frames

    def jpegs(self, which: Sequence[int] | NDArray[Any] | None = None) -> list[bytes]:
        """Frames `which`, or all, as the JPEG files that they are stored as.

        `UserError` for films, and for tars that others made.
        """
        if self._sample.frames is not None:
            raise UserError(
                f"{self.url}: sample {self.key}: a film or an indexed tar has no JPEG a frame; take decode()"
            )
        blob, starts = self._sample.blob, self._sample.meta.offsets
        ends = [*starts[1:], len(blob)]
        numbers = range(self.frames) if which is None else [int(number) for number in which]
        return [bytes(blob[starts[i] : ends[i]]) for i in numbers]


Transform = Callable[[Video, np.random.Generator], Any]
"""Makes of a video what a model takes: an array, a tensor, a number, or a dict of such, of one shape for all videos.

The generator's numbers follow from the seed, the epoch and the sample alone, whichever process asks for them.
"""

"""What a loader hands over."""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Mixed:
    """What each clip of a batch took in of another one: that one's label, as `Batch` has them, and its share.

    A share, float32 (clips,), is a half at most.
    """

    labels: Tensor
    shares: Tensor


class Seconds(NamedTuple):
    """What making a batch took: reading its samples and cutting clips of them, of all loader processes together.

    `hand_over`: what the training process did itself, to put it together, send it to the device and change it there.
    """

    read: float = 0.0
    decode: float = 0.0
    hand_over: float = 0.0

    def plus(self, other: "Seconds") -> "Seconds":
        """Both together."""
        return Seconds(*(a + b for a, b in zip(self, other, strict=True)))

    def handed_over(self, since: float) -> "Seconds":
        """With what the training process has done since then, a time of `time.perf_counter`."""
        return self._replace(hand_over=self.hand_over + time.perf_counter() - since)


@dataclass(frozen=True)
class Batch:
    """A part of a global batch: a rank's, or that of one of its loader processes.

    `numbers`: the samples' numbers in the epoch; `clips`: uint8 (clips, frames, channels, size, size) in training,
    (videos, views, frames, channels, height, width) in evaluation, channels-last memory, (0,) where there are none;
    `labels`: int64 (clips,), -1 where unknown; where a video has several, int8 (clips, classes), zeros and ones, a row
    of -1 where unknown (`pipeline.labels.tensors`). With `data.repeats` the loader has clips (videos, repeats, ...) and
    labels of videos, which `pipeline.augmentation.batches` makes clips and theirs. `replaced`: which of the planned
    `keys` are damaged, so that others stand in for them. `mixed`: by mixup, in training alone. `seconds`: what its
    making took, of all its parts together.
    """

    epoch: int
    step: int
    numbers: list[int]
    keys: list[str]
    labels: Tensor
    clips: Tensor
    replaced: list[str] = field(default_factory=list)
    mixed: Mixed | None = None
    seconds: Seconds = field(default_factory=Seconds)


@dataclass(frozen=True)
class Failure:
    """In place of the next batch: why there is none. A loader process can hand over only text without a traceback."""

    reason: str
    unreachable: bool = False
    "Whether a store is away; else it is a mistake."

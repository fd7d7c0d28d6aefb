"""Transforms of the tests, at the top of a file as a user's are."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.streaming import Video


def number(video: Video, rng: np.random.Generator) -> int:
    """The number of the sample, from its key."""
    return int(video.key.removeprefix("clip-"))


def arrays(video: Video, rng: np.random.Generator) -> dict[str, Any]:
    """Of several types and sizes."""
    return {
        "frames": video.decode([0, 5]),
        "mean": torch.tensor(video.decode([3]).mean(), dtype=torch.bfloat16),
        "draw": rng.random(3),
        "odd": np.array([1, 2, 3], np.uint8),
        "long": len(video.jpegs([0])[0]) > 100,
    }


def sizes(video: Video, rng: np.random.Generator) -> NDArray[np.int64]:
    """The bytes of its first JPEGs."""
    return np.array([len(jpeg) for jpeg in video.jpegs([0, 1])])


def whole(video: Video, rng: np.random.Generator) -> NDArray[np.uint8]:
    """All frames, as large as they are."""
    return video.decode()


def failing(video: Video, rng: np.random.Generator) -> int:
    """Fails over one sample."""
    return 1 // (number(video, rng) - 11)


def pair(video: Video, rng: np.random.Generator) -> Any:
    """What is no array."""
    return video.frames, video.label


class Offset:
    """An object that is a transform."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __call__(self, video: Video, rng: np.random.Generator) -> int:
        return number(video, rng) + self.offset

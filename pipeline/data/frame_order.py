"""The order of a clip's frames: forwards as filmed, backwards, or mixed."""

from typing import Literal

import numpy as np

from pipeline.order.plan import Indices

FrameOrder = Literal["forward", "reverse", "shuffle"]


def drawn_by(key: str) -> np.random.Generator:
    """What is random in the evaluation of the video `key`: the same in every run, whoever does it."""
    return np.random.default_rng(list(key.encode()))


def reordered(clips: Indices, order: FrameOrder, key: str) -> Indices:
    """The frame numbers of `clips`, int64 (clips, frames), with those of each clip in `order`.

    Mixing follows from the video's `key`.
    """
    if order == "reverse":
        return np.ascontiguousarray(clips[:, ::-1])
    if order == "shuffle":
        return drawn_by(key).permuted(clips, axis=1)
    return clips

"""Labels as tensors: a number a video, or a row of zeros and ones, one for each class, where a video has several."""

import torch
from torch import Tensor

Label = int | tuple[int, ...] | None
"""Of one video: the index of its class, or those of all its classes; None where it is not known."""


def empty(videos: int, classes: int | None) -> Tensor:
    """Unfilled labels: int64 (videos,); where a video has several of so many `classes`, int8 (videos, classes)."""
    if classes is None:
        return torch.empty(videos, dtype=torch.int64)
    return torch.empty(videos, classes, dtype=torch.int8)


def put(labels: Tensor, place: int, label: Label) -> None:
    """Make `label` that of the video at `place`: its number, or its row; -1, or a row of -1, where it is not known."""
    if not isinstance(label, tuple):
        labels[place] = -1 if label is None else label
        return
    labels[place] = 0
    labels[place, list(label)] = 1


def are_several(labels: Tensor) -> bool:
    """Whether these are rows: each video may have several labels."""
    return labels.ndim == 2


def some_unknown(labels: Tensor) -> Tensor:
    """Which videos have no label, bool (videos,)."""
    return labels.flatten(1).amin(1) < 0 if are_several(labels) else labels < 0

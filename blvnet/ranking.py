"""Which classes a network names first: the one rule for all that counts, lists or draws its answers."""

import torch
from torch import Tensor


def top_classes(logits: Tensor, most: int) -> Tensor:
    """The classes of the highest logits, best first; of equal logits, the class with the lower number comes first.

    `logits`: (videos, classes); returns int64 (videos, `most`, or as many as there are classes), on the same device.
    """
    # Not topk or argmax, which leave the order of equals to the device and the number of threads.
    return torch.sort(logits, dim=1, descending=True, stable=True).indices[:, :most]


def first_class(logits: Tensor) -> Tensor:
    """The first of `top_classes`, int64 (videos,): what a video is taken for."""
    return top_classes(logits, 1)[:, 0]

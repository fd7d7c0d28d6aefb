"""What the answers to a batch cost, and how many are right."""

import torch
import torch.nn.functional as F
from torch import Tensor

from blvnet.ranking import top_classes
from pipeline.labels.tensors import are_several

Blend = tuple[Tensor, Tensor]
"""Other labels of the same videos, and the share of each, float32 (videos,), that these have in it."""


def of(logits: Tensor, labels: Tensor, smoothing: float = 0.0, blend: Blend | None = None) -> Tensor:
    """The mean loss of `logits`, (videos, classes): a scalar.

    One label a video, int64 (videos,): cross-entropy, with the share `smoothing` of a label spread over all classes;
    that of a blended video is its two labels', each by its share. Several, 0 or 1 in int8 (videos, classes): binary
    cross-entropy of the sigmoid of each logit, the mean over videos and classes; `smoothing` moves each 0 and 1 by
    that share of the way to a half, and a blended video's targets are the mean of both, each by its share.
    """
    if are_several(labels):
        targets = labels.float()
        if blend is not None:
            other, shares = blend
            targets = torch.lerp(targets, other.float(), shares[:, None])
        targets = targets + smoothing * (0.5 - targets)
        return F.binary_cross_entropy_with_logits(logits.float(), targets)
    if blend is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    other, shares = blend
    own, others = (
        F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
        for target in (labels, other)
    )
    return torch.lerp(own, others, shares).mean()


def probabilities(logits: Tensor, several: bool) -> Tensor:
    """Of `logits`, (..., classes): their softmax, or, where a video has several labels, the sigmoid of each."""
    return logits.sigmoid() if several else logits.softmax(-1)


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Of how many videos the first answer is a label, and any of the first five; int64 (2,)."""
    answers = top_classes(logits, 5)
    hits = labels.gather(1, answers) == 1 if are_several(labels) else answers == labels[:, None]
    return torch.stack([hits[:, 0].sum(), hits.any(1).sum()])

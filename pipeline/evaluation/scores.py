"""How good predictions are: pure functions of labels and logits."""

from dataclasses import dataclass
from statistics import mean

import torch.nn.functional as F

from blvnet.ranking import top_classes
from pipeline.evaluation import confusion
from pipeline.evaluation.predictions import Predictions
from sharding.errors import UserError


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent and the mean cross-entropy, over all videos of a split.

    `mean_class` is the mean of the accuracies of those classes that have videos.
    """

    top1: float
    top5: float
    mean_class: float
    loss: float
    videos: int


def score(predictions: Predictions) -> Scores:
    """The scores of `predictions`; `UserError` where a video has no label."""
    logits, labels = predictions.logits, predictions.labels
    if (labels < 0).any():
        raise UserError(f"sample {predictions.keys[int(labels.argmin())]} has no label to score against")
    right = top_classes(logits, 5) == labels[:, None]
    classes = confusion.class_scores(confusion.matrix(labels.numpy(), logits.numpy()))
    return Scores(
        top1=100 * right[:, 0].double().mean().item(),
        top5=100 * right.any(1).double().mean().item(),
        mean_class=mean(each.accuracy for each in classes),
        loss=F.cross_entropy(logits, labels).item(),
        videos=len(labels),
    )

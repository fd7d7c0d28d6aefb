"""How good predictions are: pure functions of labels and logits."""

from dataclasses import dataclass
from statistics import mean

import numpy as np
from torch import Tensor

from pipeline.evaluation import confusion
from pipeline.evaluation.average_precision import average_precisions
from pipeline.evaluation.predictions import Predictions
from pipeline.labels import loss, tensors
from pipeline.run.checkpoint import Merit
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

    @property
    def merit(self) -> Merit:
        """What checkpoints are compared by."""
        return Merit("top1", self.top1)


@dataclass(frozen=True)
class SeveralScores:
    """Scores in percent and the mean binary cross-entropy, over all videos of a split that have several labels.

    `map` is the mean of the average precisions of the `classes` that have videos; `classes_without` have none, and
    are left out. `hit1` and `hit5` are the shares of videos of which the first answer is a label, or any of the first
    five.
    """

    map: float
    hit1: float
    hit5: float
    loss: float
    videos: int
    classes: int
    classes_without: int

    @property
    def merit(self) -> Merit:
        """What checkpoints are compared by."""
        return Merit("map", self.map)


def rate(predictions: Predictions) -> Scores | SeveralScores:
    """The scores of `predictions`, by what labels their videos have; `UserError` where a video has none."""
    return score_several(predictions) if tensors.are_several(predictions.labels) else score(predictions)


def score_several(predictions: Predictions) -> SeveralScores:
    """The scores of videos with several labels each; `UserError` where a video has none."""
    logits, labels = predictions.logits, predictions.labels
    hits = _hits(predictions)
    found = average_precisions(labels.numpy() == 1, logits.numpy())
    known = found[~np.isnan(found)]
    return SeveralScores(
        map=100 * float(known.mean()),
        hit1=hits[0],
        hit5=hits[1],
        loss=loss.of(logits, labels).item(),
        videos=len(labels),
        classes=len(known),
        classes_without=len(found) - len(known),
    )


def score(predictions: Predictions) -> Scores:
    """The scores of videos with one label each; `UserError` where a video has none."""
    logits, labels = predictions.logits, predictions.labels
    top1, top5 = _hits(predictions)
    classes = confusion.class_scores(confusion.matrix(labels.numpy(), logits.numpy()))
    return Scores(
        top1=top1,
        top5=top5,
        mean_class=mean(each.accuracy for each in classes),
        loss=loss.of(logits, labels).item(),
        videos=len(labels),
    )


def _hits(predictions: Predictions) -> tuple[float, float]:
    """Percent of the videos of which the first answer is right, and any of the first five."""
    unknown: Tensor = tensors.some_unknown(predictions.labels)
    if unknown.any():
        raise UserError(
            f"sample {predictions.keys[int(unknown.int().argmax())]} has no label to score against"
        )
    right = loss.right(predictions.logits, predictions.labels)
    first, five = (100 * right.double() / len(unknown)).tolist()
    return first, five

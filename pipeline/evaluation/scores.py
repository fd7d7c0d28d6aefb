"""How good predictions are: pure functions of labels and logits."""

from dataclasses import dataclass
from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.evaluation import confusion
from pipeline.evaluation.average_precision import average_precisions
from pipeline.evaluation.finite import unfit
from pipeline.evaluation.predictions import Predictions
from pipeline.labels import loss, tensors
from pipeline.run.checkpoint import Merit
from sharding.errors import UserError

_LAST = -1e30


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
    """The scores of `predictions`, by what labels their videos have; `UserError` where a video has none.

    Logits that are not finite are a wrong answer, and make the loss NaN.
    """
    return score_several(predictions) if tensors.are_several(predictions.labels) else score(predictions)


def score_several(predictions: Predictions) -> SeveralScores:
    """The scores of videos with several labels each; `UserError` where a video has none."""
    labels, answers = predictions.labels, _answers(predictions)
    hit1, hit5 = _hits(answers, labels)
    found = average_precisions(labels.numpy() == 1, answers.numpy())
    known = found[~np.isnan(found)]
    return SeveralScores(
        map=100 * float(known.mean()),
        hit1=hit1,
        hit5=hit5,
        loss=loss.of(predictions.logits, labels).item(),
        videos=len(labels),
        classes=len(known),
        classes_without=len(found) - len(known),
    )


def score(predictions: Predictions) -> Scores:
    """The scores of videos with one label each; `UserError` where a video has none."""
    labels, answers = predictions.labels, _answers(predictions)
    top1, top5 = _hits(answers, labels)
    classes = confusion.class_scores(confusion.matrix(labels.numpy(), answers.numpy()))
    return Scores(
        top1=top1,
        top5=top5,
        mean_class=mean(each.accuracy for each in classes),
        loss=loss.of(predictions.logits, labels).item(),
        videos=len(labels),
    )


def _answers(predictions: Predictions) -> Tensor:
    """The logits, with some by which a video's labels come last in place of those that are not finite."""
    labels, logits = predictions.labels, predictions.logits
    unknown = tensors.some_unknown(labels)
    if unknown.any():
        key = predictions.keys[int(unknown.int().argmax())]
        raise UserError(f"sample {key} has no label to score against; give it one, or build without it")
    wrong = unfit(logits)
    if not wrong.any():
        return logits
    rows = labels if tensors.are_several(labels) else F.one_hot(labels, logits.shape[1])
    return torch.where(wrong[:, None], _LAST * rows, logits)


def _hits(answers: Tensor, labels: Tensor) -> tuple[float, float]:
    """Percent of the videos of which the first answer is right, and any of the first five."""
    first, five = (100 * loss.right(answers, labels).double() / len(labels)).tolist()
    return first, five

"""How well videos of a class are ranked before all others: a pure function of labels and logits."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.confusion import Floats


class ClassPrecision(NamedTuple):
    """The average precision of a class, in percent, and how many `videos` are of it."""

    label: int
    videos: int
    precision: float


def class_precisions(labels: NDArray[np.integer[Any]], logits: Floats) -> list[ClassPrecision]:
    """Every class that has videos, the best one first; of equals, the one with more videos."""
    positive = labels == 1
    found = [
        ClassPrecision(label, int(positive[:, label].sum()), 100 * float(precision))
        for label, precision in enumerate(average_precisions(positive, logits))
        if not np.isnan(precision)
    ]
    return sorted(found, key=lambda each: (-each.precision, -each.videos, each.label))


def average_precisions(positive: NDArray[np.bool_], logits: Floats) -> NDArray[np.float64]:
    """The average precision of each class, 0 to 1, float64 (classes,); NaN for a class without a positive video.

    `positive`: whether a video is of a class, (videos, classes); `logits`: float32 (videos, classes).

    For each class the videos are ranked by its logit, which is the order of their sigmoids. Average precision is the
    sum over the ranks of (recall there - recall before) x precision there: the area under the points of precision
    and recall, without interpolation, scikit-learn's `average_precision_score`. Equal logits are one rank: all
    videos that have it come in together, so that no order of the videos matters.
    """
    found = [_of_class(*column) for column in zip(positive.T, logits.T, strict=True)]
    return np.array(found, np.float64)


def _of_class(positive: NDArray[np.bool_], logits: Floats) -> float:
    if not positive.any():
        return np.nan
    order = np.argsort(-logits, kind="stable")
    ranked = logits[order]
    # The last video of each rank.
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    right = np.cumsum(positive[order])[ends]
    precision, recall = right / (ends + 1), right / right[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))

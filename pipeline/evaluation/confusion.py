"""What a classifier confuses: pure functions of labels and logits."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from blvnet.ranking import first_class

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class Answer(NamedTuple):
    """Video `number` of a split, of class `label`, was taken for `predicted` with this probability."""

    number: int
    label: int
    predicted: int
    probability: float


class ClassScore(NamedTuple):
    """How many of a class's `videos` were recognised, in percent, and what most of the others were taken for."""

    label: int
    videos: int
    accuracy: float
    taken_for: int | None


def predicted_classes(logits: Floats) -> Ints:
    """What each video is taken for, int64 (videos,), from its logits, float32 (videos, classes)."""
    found: Ints = first_class(torch.from_numpy(logits)).numpy()
    return found


def matrix(labels: Ints, logits: Floats) -> Ints:
    """Videos by class, int64 (classes, classes): those of row r that were taken for column c."""
    classes = logits.shape[1]
    cells = labels * classes + predicted_classes(logits)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def class_scores(counts: Ints) -> list[ClassScore]:
    """Every class that has videos, the best recognised first; of equals, the one with more videos."""
    scores = []
    for label, row in enumerate(counts):
        if videos := int(row.sum()):
            wrong = row.copy()
            wrong[label] = 0
            taken_for = int(wrong.argmax()) if wrong.any() else None
            scores.append(ClassScore(label, videos, 100 * float(row[label]) / videos, taken_for))
    return sorted(scores, key=lambda score: (-score.accuracy, -score.videos, score.label))


def confident_mistakes(labels: Ints, logits: Floats, most: int) -> list[Answer]:
    """The wrong predictions of the highest probability, at most `most`."""
    answers = _surest_first(labels, logits)
    return [answer for answer in answers if answer.predicted != answer.label][:most]


def confident_answers(labels: Ints, logits: Floats, most: int) -> list[Answer]:
    """The right predictions of the highest probability, each of another class, at most `most`."""
    of_class: dict[int, Answer] = {}
    for answer in _surest_first(labels, logits):
        if answer.predicted == answer.label:
            of_class.setdefault(answer.label, answer)
    return list(of_class.values())[:most]


def _surest_first(labels: Ints, logits: Floats) -> list[Answer]:
    """Every prediction, that of the highest probability first."""
    predicted = predicted_classes(logits)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probability = powers.max(1) / powers.sum(1)
    order = np.argsort(-probability, kind="stable")
    return [Answer(int(i), int(labels[i]), int(predicted[i]), float(probability[i])) for i in order]


def pairs(counts: Ints, most: int) -> list[tuple[int, int, int]]:
    """(class, what it was taken for, videos): the cells beside the diagonal with the most videos, at most `most`."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = [(*map(int, np.unravel_index(cell, wrong.shape)), int(wrong.flat[cell])) for cell in order]
    return [(label, predicted, videos) for label, predicted, videos in cells if videos]

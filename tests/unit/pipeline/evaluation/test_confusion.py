import numpy as np
import pytest

from pipeline.evaluation import confusion
from pipeline.evaluation.confusion import ClassScore

LABELS = np.array([0, 0, 0, 0, 1, 1, 3])
PREDICTED = np.array([0, 0, 1, 2, 1, 1, 2])
LOGITS = np.full((7, 4), -1.0, np.float32)
LOGITS[np.arange(7), PREDICTED] = np.array([1, 1, 2, 4, 1, 1, 3], np.float32)


def test_the_matrix_counts_every_video_once() -> None:
    counts = confusion.matrix(LABELS, LOGITS)
    assert counts.tolist() == [[2, 1, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]


def test_classes_come_best_first_and_only_those_with_videos() -> None:
    assert confusion.class_scores(confusion.matrix(LABELS, LOGITS)) == [
        ClassScore(1, 2, 100.0, None),
        ClassScore(0, 4, 50.0, 1),
        ClassScore(3, 1, 0.0, 2),
    ]


def test_mistakes_come_by_their_probability() -> None:
    mistakes = confusion.confident_mistakes(LABELS, LOGITS, 2)
    assert [(m.number, m.label, m.predicted) for m in mistakes] == [(3, 0, 2), (6, 3, 2)]
    assert mistakes[0].probability == pytest.approx(1 / (1 + 3 * np.exp(-5)))
    assert confusion.confident_mistakes(PREDICTED, LOGITS, 5) == []
    huge = confusion.confident_mistakes(LABELS, 1e4 * LOGITS, 1)
    assert huge[0].probability == 1.0


def test_right_answers_come_by_their_probability_one_of_each_class() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 3]), np.array([0, 0, 1, 2, 0])
    logits = np.zeros((5, 4), np.float32)
    logits[np.arange(5), predicted] = [3, 5, 4, 1, 9]
    found = confusion.confident_answers(labels, logits, 2)
    assert [(a.number, a.label, a.predicted) for a in found] == [(1, 0, 0), (2, 1, 1)]
    assert [a.number for a in confusion.confident_answers(labels, logits, 9)] == [1, 2, 3]


def test_pairs_are_the_largest_cells_beside_the_diagonal() -> None:
    counts = np.array([[5, 2, 0], [7, 1, 0], [0, 0, 0]])
    assert confusion.pairs(counts, 10) == [(1, 0, 7), (0, 1, 2)]
    assert confusion.pairs(counts, 1) == [(1, 0, 7)]

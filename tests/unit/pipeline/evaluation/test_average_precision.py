import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.evaluation.average_precision import average_precisions, class_precisions
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.scores import Scores, rate, score_several
from sharding.errors import UserError


def of_one(positive: list[int], logits: list[float]) -> float:
    """The average precision of one class."""
    columns = np.array(positive, bool)[:, None], np.array(logits, np.float32)[:, None]
    return float(average_precisions(*columns)[0])


@pytest.mark.parametrize(
    ("positive", "logits", "expected"),
    [
        # Positives at ranks 1 and 3: (1/2)(1/1) + (1/2)(2/3).
        ([1, 0, 1, 0], [4, 3, 2, 1], 5 / 6),
        # The example of scikit-learn's documentation: ranks 1 and 3.
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 5 / 6),
        ([1, 1, 0, 0], [4, 3, 2, 1], 1),
        # The only positive at rank 4.
        ([0, 0, 0, 1], [4, 3, 2, 1], 1 / 4),
        # All alike: one rank of four videos, two of them positive.
        ([1, 0, 1, 0], [1, 1, 1, 1], 1 / 2),
        # Ranks of 1 and 3 videos: (1/3)(1/1) + (2/3)(3/4).
        ([1, 1, 0, 1], [2, 1, 1, 1], 5 / 6),
        # Ranks of 2 and 2 videos, a positive in each: (1/2)(1/2) + (1/2)(2/4).
        ([1, 0, 0, 1], [0, 0, -1, -1], 1 / 2),
        # Zero has no sign here.
        ([0, 1], [0.0, -0.0], 1 / 2),
        ([1], [-5], 1),
    ],
)
def test_numbers_that_were_computed_by_hand(
    positive: list[int], logits: list[float], expected: float
) -> None:
    assert of_one(positive, logits) == pytest.approx(expected, abs=1e-12)


def plainly(positive: NDArray[np.bool_], logits: NDArray[np.float32]) -> float:
    """The definition, threshold by threshold: who has at least this logit, and how many of them are right?"""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(logits.tolist()), reverse=True):
        chosen = [i for i, logit in enumerate(logits.tolist()) if logit >= threshold]
        right = sum(bool(positive[i]) for i in chosen)
        recall = right / int(positive.sum())
        total += (recall - recall_before) * right / len(chosen)
        recall_before = recall
    return total


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_it_is_the_definition_whatever_the_ties(videos: int, classes: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random((videos, classes)) < rng.random(classes)
    logits = rng.integers(-levels, levels, (videos, classes)).astype(np.float32)
    found = average_precisions(positive, logits)
    for i in range(classes):
        if positive[:, i].any():
            assert found[i] == pytest.approx(plainly(positive[:, i], logits[:, i]), abs=1e-12)
        else:
            assert math.isnan(found[i])
    order = rng.permutation(videos)
    np.testing.assert_array_equal(found, average_precisions(positive[order], logits[order]))


LABELS = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.int8)
LOGITS = torch.tensor([[4.0, 9, 0, 0], [3, 9, 2, 1], [2, 0, 1, 0], [1, 0, 3, 0]])


def test_classes_without_a_video_are_left_out_and_counted() -> None:
    scores = score_several(Predictions(["a", "b", "c", "d"], LABELS, LOGITS))
    # Class 0: ranks 1 and 3; class 2: ranks 2 and 4; class 3: in the second rank, of three videos.
    expected = [5 / 6, (1 / 2 + 2 / 4) / 2, 1 / 4]
    assert scores.map == pytest.approx(100 * sum(expected) / 3)
    assert (scores.classes, scores.classes_without, scores.videos) == (3, 1, 4)
    # First answers: 1, 1, 0, 2; all four classes are among the first five.
    assert (scores.hit1, scores.hit5) == (25, 100)
    table = class_precisions(LABELS.numpy(), LOGITS.numpy())
    assert [(each.label, each.videos) for each in table] == [(0, 2), (2, 2), (3, 1)]
    assert [each.precision / 100 for each in table] == pytest.approx(expected)


def test_what_checkpoints_are_compared_by_goes_by_the_labels() -> None:
    several = Predictions(["a", "b", "c", "d"], LABELS, LOGITS)
    one = Predictions(["a", "b", "c", "d"], torch.tensor([1, 1, 1, 2]), LOGITS)
    assert rate(several).merit == ("map", score_several(several).map)
    assert rate(one).merit == ("top1", 75)


def test_a_video_without_labels_cannot_be_scored() -> None:
    labels = LABELS.clone()
    labels[2] = -1
    with pytest.raises(UserError, match="sample c has no label to score against"):
        rate(Predictions(["a", "b", "c", "d"], labels, LOGITS))


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_wrong_answers(fault: float) -> None:
    """Sorted with others, NaN would come first: in every class, of which one may be right."""
    one = Predictions(["a", "b", "c", "d"], torch.tensor([1, 1, 1, 2]), LOGITS.clone())
    one.logits[:2] = fault
    one.logits[2, 3] = fault
    scores = rate(one)
    assert isinstance(scores, Scores) and not math.isfinite(scores.loss)
    assert (scores.top1, scores.top5, scores.mean_class) == (25, 100, 50)
    broken = LOGITS.clone()
    broken[3, 0] = fault
    several = rate(Predictions(["a", "b", "c", "d"], LABELS, broken))
    last = LOGITS.clone()
    last[3] = torch.tensor([0, 0, 0, -99.0])
    assert replace(several, loss=0) == replace(rate(Predictions(["a", "b", "c", "d"], LABELS, last)), loss=0)

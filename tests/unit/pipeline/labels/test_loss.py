import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.labels import loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
ROWS = torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.int8)


def by_hand(targets: list[list[float]]) -> float:
    """The mean over videos and classes of the binary cross-entropy, by its definition."""
    terms = []
    for row, wanted in zip(LOGITS.tolist(), targets, strict=True):
        for logit, target in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-logit))
            terms.append(-target * math.log(p) - (1 - target) * math.log(1 - p))
    return sum(terms) / len(terms)


def test_of_several_labels_it_is_the_mean_binary_cross_entropy() -> None:
    assert loss.of(LOGITS, ROWS).item() == pytest.approx(by_hand([[1, 0, 1], [0, 1, 0]]))


def test_smoothing_moves_zeros_and_ones_towards_a_half() -> None:
    smoothed = [[0.9, 0.1, 0.9], [0.1, 0.9, 0.1]]
    assert loss.of(LOGITS, ROWS, smoothing=0.2).item() == pytest.approx(by_hand(smoothed))


def test_a_blended_clip_has_the_labels_of_both_each_by_its_share() -> None:
    shares = torch.tensor([0.25, 0.5])
    blended = [[0.75, 0.25, 0.75], [0.5, 0.5, 0.5]]
    assert loss.of(LOGITS, ROWS, blend=(ROWS.roll(1, 0), shares)).item() == pytest.approx(by_hand(blended))


def test_in_bf16_logits_targets_do_not_lose_the_labels() -> None:
    found = loss.of(LOGITS.bfloat16(), ROWS)
    assert found.item() == pytest.approx(loss.of(LOGITS, ROWS).item(), rel=0.02)


def test_of_one_label_it_is_the_cross_entropy() -> None:
    labels = torch.tensor([0, 2])
    assert torch.equal(loss.of(LOGITS, labels, 0.1), F.cross_entropy(LOGITS, labels, label_smoothing=0.1))


def test_an_answer_is_right_that_is_any_of_the_labels() -> None:
    logits = torch.tensor([[0.0, 5, 4, 3, 2, 1, 6], [9, 1, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5, 6]])
    rows = torch.zeros(3, 7, dtype=torch.int8)
    rows[0, [6, 0]] = rows[1, 6] = rows[2, [1, 2]] = 1
    # The last one's labels are the two that are named last: neither is among the first five.
    assert loss.right(logits, rows).tolist() == [1, 2]
    assert loss.right(logits, torch.tensor([6, 6, 1])).tolist() == [1, 2]


def test_an_unknown_label_is_never_right() -> None:
    assert loss.right(LOGITS, torch.full((2, 3), -1, dtype=torch.int8)).tolist() == [0, 0]


def test_probabilities_add_up_to_one_for_one_label_and_stand_alone_for_several() -> None:
    assert loss.probabilities(LOGITS, several=False).sum(1).tolist() == pytest.approx([1, 1])
    assert torch.equal(loss.probabilities(LOGITS, several=True), LOGITS.sigmoid())

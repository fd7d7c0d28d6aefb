"""Equal logits: scores, matrix, tables, leaderboard, prediction, training and orders name the same class first."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from blvnet.ranking import first_class, top_classes
from pipeline import predict
from pipeline.evaluation import confusion, outputs
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.scores import score
from pipeline.evaluation.time_order import effect
from pipeline.labels import loss as losses
from tests import shards

VIDEOS, CLASSES = 600, 174
NAMES = [f"class {i}" for i in range(CLASSES)]


def rounded() -> torch.Tensor:
    """Logits as bf16 has them, float32 (videos, classes): many videos have several first classes."""
    random = torch.Generator().manual_seed(0)
    return (6 * torch.randn(VIDEOS, CLASSES, generator=random)).to(torch.bfloat16).float()


def constant() -> torch.Tensor:
    return torch.full((VIDEOS, CLASSES), 0.5)


@pytest.mark.parametrize("logits", [rounded(), constant()], ids=["bf16", "constant"])
def test_everything_that_names_a_first_class_names_the_same(logits: torch.Tensor, tmp_path: Path) -> None:
    tied = (logits == logits.amax(1, keepdim=True)).sum(1) > 1
    assert tied.sum() > 5
    # by the rule as it is told: the highest logit, and of equal ones the lowest number
    expected = [sorted(range(CLASSES), key=lambda i: (-row[i], i))[:5] for row in logits.tolist()]
    labels = torch.randint(CLASSES, (VIDEOS,), generator=torch.Generator().manual_seed(1))
    labels[::2] = torch.tensor(expected)[::2, 0]
    labels[1::6] = torch.tensor(expected)[1::6, 3]
    top1 = sum(row[0] == label for row, label in zip(expected, labels.tolist(), strict=True)) / VIDEOS
    top5 = sum(label in row for row, label in zip(expected, labels.tolist(), strict=True)) / VIDEOS
    firsts = [row[0] for row in expected]

    assert top_classes(logits, 5).tolist() == expected and first_class(logits).tolist() == firsts
    found = Predictions([f"{i:03}" for i in range(VIDEOS)], labels, logits)
    scores = score(found)
    assert (scores.top1, scores.top5) == (pytest.approx(100 * top1), pytest.approx(100 * top5))
    assert (losses.right(logits, labels) / VIDEOS).tolist() == pytest.approx([top1, top5])

    counts = confusion.matrix(labels.numpy(), logits.numpy())
    assert counts.trace() == round(top1 * VIDEOS)
    assert counts.sum(0).tolist() == np.bincount(firsts, minlength=CLASSES).tolist()
    assert scores.mean_class == pytest.approx(
        np.mean([each.accuracy for each in confusion.class_scores(counts)])
    )
    mistakes = confusion.confident_mistakes(labels.numpy(), logits.numpy(), VIDEOS)
    assert len(mistakes) == VIDEOS - counts.trace()
    assert all(mistake.predicted == firsts[mistake.number] for mistake in mistakes)

    split = shards.make(tmp_path, [1], classes=NAMES)
    outputs.write_predictions(str(tmp_path), split, found)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "predictions-train.csv").read_text())))
    assert [row["predicted"] for row in rows] == [NAMES[first] for first in firsts]
    assert [[int(i) for i in row["top5"].split()] for row in rows] == expected
    leaders = outputs.leaderboard("sthv2", NAMES, found).splitlines()
    assert [[int(i) for i in line.split(";")[1:]] for line in leaders] == expected
    predicted = [[answer["index"] for answer in predict.best(row, NAMES, 5)] for row in logits]
    assert predicted == expected
    backwards = effect("reverse", NAMES, labels.numpy(), logits.numpy(), logits.numpy())
    assert backwards.top1_forward == backwards.top1 == pytest.approx(scores.top1)


def test_fewer_classes_than_asked_for_are_all_named() -> None:
    assert top_classes(torch.tensor([[1.0, 2.0, 2.0]]), 5).tolist() == [[1, 2, 0]]

"""What an evaluation says at its end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.evaluation import said
from tests import shards

VIEWS = {
    "clips": 10,
    "crops": 1,
    "sampling": "uniform",
    "size": 224,
    "short_side": 256,
    "precision": "fp32",
}
SCORES = {
    "split": "validation",
    "top1": 100 / 3,
    "top5": 99.999,
    "mean_class": 50.0,
    "loss": 1.23456,
    "videos": 1234,
}


def test_scores_are_a_table_that_says_how_the_videos_were_seen(tmp_path: Path) -> None:
    split = replace(shards.make(tmp_path, [2], split="validation"), classes=[str(i) for i in range(6)])
    found = said.lines({**SCORES, "views": VIEWS}, split)
    assert found == [
        "validation: 1,234 videos, views 10 x 1 (uniform), 224 of 256, fp32",
        "  top-1                 33.33 %",
        "  top-5                100.00 %",
        "  mean class accuracy   50.00 %",
        "  loss                   1.2346",
    ]
    published = {"top1": 59.1, "views": {**VIEWS, "clips": 1, "short_side": 224}}
    last = said.lines({**SCORES, "views": VIEWS, "published": published}, split)[-1]
    assert last == "  published top-1, views 1 x 1 (uniform), 224 of 224, fp32   59.10 %"
    # Among five classes the right one is always among the first five.
    five = said.lines({**SCORES, "views": VIEWS}, replace(split, classes=list("abcde")))
    assert five == [line for line in found if "top-5" not in line]


def test_the_effect_of_another_order_is_a_table_too(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [2], split="validation")
    effect = {"top1_forward": 40.0, "top1": 15.5, "drop": 24.5, "mirrored_classes": 2, "recognised": 1500}
    content = {"split": "validation", "order": "reverse", **effect, "flipped": 12.5}
    assert said.lines(content, split) == [
        "validation, frames in order reverse",
        "  top-1 forwards                        40.00 %",
        "  top-1 in this order                   15.50 %",
        "  drop                                  24.50 %",
        "  classes with a mirror in time               2",
        "  videos of these recognised forwards     1,500",
        "  now taken for their mirror in time     12.5 %",
    ]
    assert len(said.lines({**content, "flipped": None}, split)) == 6


def test_json_is_the_content_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = shards.make(tmp_path, [2], split="test", labelled=False)
    said.say({"split": "test", "videos": 2}, split, as_json=True)
    said.say({"split": "test", "videos": 2}, split, as_json=False)
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"split": "test", "videos": 2}
    assert second == "test: 2 videos predicted; they have no labels to score against"

"""Classes in the report: all of them, and what one run gains and loses against another."""

import re
from dataclasses import replace

import numpy as np

from pipeline import config
from pipeline.evaluation import confusion
from pipeline.reporting import classwise
from pipeline.reporting.classwise import Evaluated
from pipeline.reporting.record import Answers, Record
from tests.pages import Parsed

CONFIG = config.override({"data": {"root": "d"}, "run": {"folder": "f"}}, [], "test")
LABELS = np.array([0, 0, 1, 1, 2])


def logits(*predicted: int) -> np.ndarray:
    found = np.zeros((5, 4), np.float32)
    found[np.arange(5), predicted] = 1
    return found


def evaluated(name: str, *predicted: int, split: str = "val", views: int = 1) -> Evaluated:
    scores = [{"split": split, "views": {"clips": views}}]
    run = Record(name, name, CONFIG, [], [], scores, [], None, [], None, None)
    return Evaluated(run, 0, Answers(split, list("abcde"), LABELS, logits(*predicted), run.name))


def rows(text: str) -> list[list[str]]:
    found = re.findall("<tr>(.*?)</tr>", text[text.index("<tbody>") :])
    return [re.findall("<td[^>]*>(.*?)</td>", re.sub("</?span[^>]*>", "", row)) for row in found]


def test_every_class_with_videos_has_its_line() -> None:
    counts = confusion.matrix(LABELS, logits(0, 1, 1, 1, 3))
    assert rows(classwise.table(counts, ["zero", "one", "<two>", "three"])) == [
        ["1", "one", "2", "100.0", "3", "66.7", ""],
        ["0", "zero", "2", "50.0", "1", "100.0", "one"],
        ["2", "&lt;two&gt;", "1", "0.0", "0", "", "three"],
    ]


def test_gains_and_losses_are_told_class_by_class_and_video_by_video() -> None:
    (text,) = classwise.changes([evaluated("old", 0, 1, 1, 1, 3), evaluated("new", 0, 0, 1, 0, 3)])
    assert "new against" in Parsed(text).text
    counts = "classes: 1 better, 1 worse, 1 as before; videos: 1 newly recognised, 1 no longer<"
    assert f"top-1 60.00 % to 60.00 %; {counts}" in text
    assert rows(text) == [
        ["0", "class 0", "2", "50.0", "100.0", "+50.0"],
        ["2", "class 2", "1", "0.0", "0.0", "+0.0"],
        ["1", "class 1", "2", "100.0", "50.0", "-50.0"],
    ]
    assert text.count("bar loss") == 1


def test_each_is_held_against_the_first_of_its_split() -> None:
    answers = 0, 0, 1, 1, 2
    several = [evaluated("a", *answers), evaluated("a", *answers, split="test"), evaluated("b", *answers)]
    headings = [
        Parsed(text).text.split("\n")[1] for text in classwise.changes([*several, evaluated("c", *answers)])
    ]
    assert headings == ["b against a: val", "c against a: val"]


def test_runs_on_two_data_sets_are_each_held_against_the_first_of_their_own() -> None:
    def on_other_videos(name: str) -> Evaluated:
        one = evaluated(name, 0, 0, 1, 1, 2)
        return one._replace(answers=replace(one.answers, keys=list("vwxyz")))

    runs = [evaluated("a", 0, 0, 1, 1, 2), on_other_videos("x"), on_other_videos("y")]
    other, same = classwise.changes(runs)
    assert "x against a" in Parsed(other).text and "no comparison: " in other
    assert "y against x" in Parsed(same).text and "Gains and losses" in same


def test_what_cannot_be_compared_or_was_seen_otherwise_is_said() -> None:
    one, other = evaluated("a", 0, 0, 1, 1, 2), evaluated("b", 0, 0, 1, 1, 2, views=10)
    assert "saw the videos in other ways" in next(classwise.changes([one, other]))
    fewer = Answers("val", list("abcd"), LABELS[:4], other.answers.logits[:4], "b")
    for answers in (
        fewer,
        replace(other.answers, labels=LABELS[::-1]),
        replace(other.answers, logits=np.eye(5)),
    ):
        text = next(classwise.changes([one, other._replace(answers=answers)]))
        assert "no comparison: " in text and "<table" not in text

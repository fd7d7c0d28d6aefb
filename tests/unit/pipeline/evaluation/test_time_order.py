"""Films backwards: which class becomes which, and how predictions follow."""

import numpy as np
import pytest

from pipeline.data.sampling import reordered
from pipeline.evaluation.time_order import effect, time_mirrors
from sharding.demo import demo

PAIRS = [
    ("Opening [something]", "Closing [something]"),
    ("Folding something", "Unfolding something"),
    ("Covering [something] with [something]", "Uncovering [something]"),
    ("Moving something up", "Moving something down"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Putting something into something", "Taking something out of something"),
    ("Moving something closer to something", "Moving something away from something"),
    ("Moving something towards the camera", "Moving something away from the camera"),
    (
        "Putting something behind something",
        "Removing something, revealing something behind",
    ),
    ("Swipe_Left", "swipe_right"),
    *(
        (demo.class_name(forwards), demo.class_name(backwards))
        for _, forwards, backwards in demo.PAIRS
        if "left to right" not in forwards and "up" not in forwards
    ),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_film_of_one_class_shows_the_other_backwards(pair: tuple[str, str]) -> None:
    assert time_mirrors([pair[0], "Holding something", pair[1]]).tolist() == [2, -1, 0]
    assert time_mirrors([pair[0], "Holding something"]).tolist() == [-1, -1]


def test_mirrors_are_mutual_and_only_of_words() -> None:
    classes = [name for pair in PAIRS for name in pair]
    classes += ["Folding something up", "Turning something upside down", "Picking something up"]
    mirrors = time_mirrors(classes)
    assert mirrors[-3:].tolist() == [-1, -1, -1]
    assert all(mirrors[mirrors[i]] == i for i in range(len(classes) - 3))


def test_orders_keep_a_clips_frames_and_mixing_follows_from_the_key() -> None:
    clips = np.arange(24).reshape(2, 12)
    assert reordered(clips, "forward", "a") is clips
    assert np.array_equal(reordered(clips, "reverse", "a"), clips[:, ::-1])
    mixed = reordered(clips, "shuffle", "a")
    assert np.array_equal(np.sort(mixed, axis=1), clips)
    assert np.array_equal(mixed, reordered(clips, "shuffle", "a"))
    assert not np.array_equal(mixed, reordered(clips, "shuffle", "b"))
    assert not np.array_equal(mixed[0], mixed[1] - 12)


def test_the_effect_counts_the_recognised_that_flip() -> None:
    classes = ["Opening something", "Closing something", "Holding something"]
    labels = np.array([0, 0, 1, 2, 1])
    forward = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 0]]  # the last is wrong forwards
    backward = np.eye(3, dtype=np.float32)[[1, 0, 0, 2, 0]]
    found = effect("reverse", classes, labels, forward, backward)
    assert (found.top1_forward, found.top1, found.drop) == pytest.approx((80, 40, 40))
    assert (found.mirrored_classes, found.recognised) == (2, 3)
    assert found.flipped == pytest.approx(200 / 3)
    assert effect("reverse", classes, labels[3:4], forward[3:4], backward[3:4]).flipped is None

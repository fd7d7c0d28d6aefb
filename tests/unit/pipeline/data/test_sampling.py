"""Frames of a clip: the reference's numbers, and what holds for every length of video."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data.sampling import (
    dense_indices,
    random_dense_indices,
    reference_indices,
    segment_indices,
    uniform_indices,
)

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[3] / "golden/data_public.json").read_text())

lengths = st.integers(1, 500)
clip_lengths = st.integers(1, 64)
seeds = st.integers(0, 2**32 - 1)


def name(case: dict[str, Any]) -> str:
    return f"n{case['video_frames']}-T{case['frames']}-c{case.get('clips', 1)}"


@pytest.mark.parametrize("case", GOLDEN["uniform"], ids=name)
def test_uniform_frames_are_the_references(case: dict[str, Any]) -> None:
    got = uniform_indices(case["video_frames"], case["frames"], case["clips"])
    assert got.shape == (case["clips"], case["frames"])
    assert (got.reshape(-1) + 1).tolist() == case["indices"]


@pytest.mark.parametrize("case", GOLDEN["dense"], ids=name)
def test_dense_frames_are_the_references(case: dict[str, Any]) -> None:
    got = dense_indices(case["video_frames"], case["frames"], case["fpg"], case["clips"])
    assert got.shape == (case["clips"], case["frames"])
    assert (got.reshape(-1) + 1).tolist() == case["indices"]


@pytest.mark.parametrize("case", GOLDEN["train_outcomes"], ids=name)
def test_reference_training_draws_every_outcome_of_the_reference_and_no_other(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    seen = {
        tuple((reference_indices(case["video_frames"], case["frames"], rng) + 1).tolist()) for _ in range(200)
    }
    assert seen == {tuple(outcome) for outcome in case["outcomes"]}


@given(lengths, clip_lengths, st.integers(1, 5), seeds)
def test_a_dense_training_clip_is_every_so_many_frames_from_a_start_that_lets_it_fit(
    n: int, t: int, stride: int, seed: int
) -> None:
    got = random_dense_indices(n, t, np.random.default_rng(seed), stride)
    assert got.tolist() == [(got[0] + i * stride) % n for i in range(t)]
    assert got[0] <= max(0, n - t * stride)


@pytest.mark.parametrize(("n", "starts"), [(20, {0, 1, 2, 3}), (18, {0, 1}), (17, {0}), (16, {0}), (9, {0})])
def test_dense_training_draws_every_start_of_the_reference_and_no_other(n: int, starts: set[int]) -> None:
    """Its bound is not drawn itself: a clip never ends with the video's last frames."""
    rng = np.random.default_rng(0)
    assert {int(random_dense_indices(n, 8, rng, 2)[0]) for _ in range(200)} == starts


def test_reference_training_repeats_random_frames_of_a_short_video() -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([reference_indices(5, 16, rng) for _ in range(200)])
    assert draws.shape == (200, 16)
    assert (np.diff(draws) >= 0).all()
    assert np.bincount(draws.ravel(), minlength=5).min() > 200 * 16 / 5 * 0.9
    assert len(np.unique(draws, axis=0)) > 100


@given(lengths, clip_lengths, seeds)
def test_each_segment_frame_lies_in_its_own_segment(n: int, t: int, seed: int) -> None:
    got = segment_indices(n, t, np.random.default_rng(seed))
    assert got.shape == (t,)
    assert got.dtype == np.int64
    segment = np.arange(t)
    assert (got >= segment * n // t).all()  # the frame that the segment begins in
    assert (got * t < (segment + 1) * n).all()  # in exact integers: before the segment's end
    assert (np.diff(got) >= 0).all()


@pytest.mark.parametrize(("n", "t"), [(45, 16), (31, 16), (16, 16), (7, 16), (1, 4)])
def test_segment_frames_reach_every_frame_of_the_video(n: int, t: int) -> None:
    rng = np.random.default_rng(0)
    seen = {int(i) for _ in range(300) for i in segment_indices(n, t, rng)}
    assert seen == set(range(n))


def test_segment_frames_of_a_video_as_long_as_the_clip_are_all_its_frames() -> None:
    assert segment_indices(16, 16, np.random.default_rng(0)).tolist() == list(range(16))


@pytest.mark.parametrize("draw", [segment_indices, reference_indices])
def test_training_frames_follow_from_the_seed(draw: Any) -> None:
    def clip(seed: int) -> list[int]:
        return list(draw(100, 8, np.random.default_rng(seed)))

    assert clip(3) == clip(3)
    assert len({tuple(clip(seed)) for seed in range(20)}) > 1


@given(lengths, clip_lengths, st.integers(1, 12))
def test_uniform_frames_are_sorted_and_in_range(n: int, t: int, clips: int) -> None:
    got = uniform_indices(n, t, clips)
    assert got.shape == (clips, t)
    assert got.min() >= 0
    assert got.max() < n
    assert (np.diff(got) >= 0).all()


@given(lengths, clip_lengths, st.integers(1, 12))
@example(185, 45, 7)  # in floating point 27 * (185 / 45) is less than 111, so the reference takes frame 110
def test_each_uniform_frame_lies_in_its_own_segment(n: int, t: int, clips: int) -> None:
    if n <= t:
        return
    got = uniform_indices(n, t, clips)
    assert (got >= (np.arange(t) * (n / t)).astype(int)).all()
    assert (got * t < np.arange(1, t + 1) * n).all()


@given(lengths, clip_lengths, st.integers(1, 8), st.integers(1, 12))
def test_dense_frames_are_in_range_and_a_stride_apart(n: int, t: int, stride: int, clips: int) -> None:
    got = dense_indices(n, t, stride, clips)
    assert got.shape == (clips, t)
    assert got.min() >= 0
    assert got.max() < n
    assert ((np.diff(got) - stride) % n == 0).all()
    assert got[0, 0] == 0


groups = st.integers(1, 8)


def in_groups(frames: Any, group: int) -> Any:
    """(..., groups, group)"""
    return frames.reshape(*frames.shape[:-1], -1, group)


@given(lengths, st.integers(1, 16), groups, seeds, st.integers(1, 5))
def test_frames_of_a_group_follow_one_another(n: int, count: int, group: int, seed: int, clips: int) -> None:
    """Where the video has so many; a shorter one's last frame is repeated."""
    for got in (
        segment_indices(n, count * group, np.random.default_rng(seed), group),
        uniform_indices(n, count * group, clips, group),
    ):
        assert got.dtype == np.int64 and got.shape[-1] == count * group
        each = in_groups(got, group)
        assert (each == np.minimum(each[..., :1] + np.arange(group), n - 1)).all()
        assert got.min() >= 0 and got.max() < n
        assert n < group or (np.diff(each, axis=-1) == 1).all()
        assert (np.diff(each[..., 0], axis=-1) >= 0).all()


@given(st.integers(1, 16), groups, st.integers(0, 300), seeds, st.integers(1, 5))
@example(1, 1, 0, 0, 1)
def test_each_group_lies_in_its_own_segment(count: int, group: int, more: int, seed: int, clips: int) -> None:
    n = count * group + more
    if group == 1 and not more:
        return  # the reference's draw of a video as long as the clip
    for got in (
        segment_indices(n, count * group, np.random.default_rng(seed), group),
        uniform_indices(n, count * group, clips, group),
    ):
        each, segment = in_groups(got, group), np.arange(count)
        assert (each[..., 0] >= segment * n // count).all()
        assert (
            each[..., -1] * count < (segment + 1) * n
        ).all()  # in exact integers: before the segment's end
        assert (np.diff(got, axis=-1) >= 0).all()


@pytest.mark.parametrize(("n", "t", "group"), [(45, 16, 2), (16, 16, 4), (33, 8, 8), (9, 16, 2)])
def test_groups_reach_every_frame_of_the_video(n: int, t: int, group: int) -> None:
    rng = np.random.default_rng(0)
    assert {int(i) for _ in range(500) for i in segment_indices(n, t, rng, group)} == set(range(n))


def test_groups_of_a_video_as_long_as_the_clip_are_all_its_frames() -> None:
    for group in (2, 4, 8, 16):
        assert segment_indices(16, 16, np.random.default_rng(0), group).tolist() == list(range(16))
        assert uniform_indices(16, 16, 1, group).tolist() == [list(range(16))]


def test_the_middle_of_a_segment_is_that_of_its_group() -> None:
    assert uniform_indices(40, 8, 1, 4).tolist() == [[8, 9, 10, 11, 28, 29, 30, 31]]
    assert uniform_indices(40, 8, 3, 4)[:, 0].tolist() == [7, 8, 9]


def test_reference_groups_have_the_same_places_in_every_segment_and_all_such_places_are_drawn() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        each = in_groups(reference_indices(18, 8, rng, 2), 2)
        assert (each - each[0] == 4 * np.arange(4)[:, None]).all()
        seen.add(tuple(each[0].tolist()))
    assert seen == {(a, b) for a in range(4) for b in range(a + 1, 4)}


def test_reference_groups_of_a_short_video_are_random_frames_with_repetition() -> None:
    draws = np.stack([reference_indices(7, 8, np.random.default_rng(seed), 4) for seed in range(100)])
    assert draws.shape == (100, 8) and (np.diff(draws) >= 0).all()
    assert len(np.unique(draws, axis=0)) > 50 and set(np.unique(draws)) == set(range(7))

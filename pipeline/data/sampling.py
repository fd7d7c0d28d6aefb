"""Which frames of a video make a clip, and in which order: forwards as filmed, backwards, or mixed.

Frame numbers are 0-based. Training draws from a numpy `Generator`, so that the caller's seed decides;
evaluation is a function of the video's length alone. The rules other than `segment_indices` are the published
reference's, oddities included.

A clip may be made of groups of `group` frames, a number that divides the clip's; by default each frame is one.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
FrameOrder = Literal["forward", "reverse", "shuffle"]


def segment_indices(video_frames: int, num_frames: int, rng: np.random.Generator, group: int = 1) -> Indices:
    """A group of consecutive frames at an own random place in each of equal segments of the whole video.

    Returns int64 (num_frames,), sorted. A video shorter than the clip repeats frames: groups that overlap, spread
    evenly.
    """
    groups = num_frames // group
    segment, room = _segments(video_frames, groups, group)
    places = (np.arange(groups) + rng.random(groups) * (room / segment)) * segment
    return _followed(places, group, video_frames)


def reference_indices(
    video_frames: int, num_frames: int, rng: np.random.Generator, group: int = 1
) -> Indices:
    """The reference's training frames: `group` random places of a segment, the same in every segment.

    A segment has `video_frames // groups` frames. Returns int64 (num_frames,), sorted. The tail of the video, up to
    half of it, is never drawn. A video shorter than the clip gives random frames with repetition.
    """
    groups = num_frames // group
    stride = video_frames // groups
    if stride < group:
        return np.sort(rng.integers(0, video_frames, num_frames))
    places = rng.integers(0, stride, 1) if group == 1 else np.sort(rng.choice(stride, group, replace=False))
    return (np.arange(groups)[:, None] * stride + places).reshape(-1)


def random_dense_indices(
    video_frames: int, num_frames: int, rng: np.random.Generator, stride: int
) -> Indices:
    """Every `stride`-th frame from a random start: the training form of `dense_indices`.

    Returns int64 (num_frames,). The last start of `dense_indices`, other than the first, is never drawn. A clip that is
    longer than the video goes on from its beginning.
    """
    start = rng.integers(max(1, video_frames - num_frames * stride))
    return (start + np.arange(num_frames) * stride) % video_frames


def uniform_indices(video_frames: int, num_frames: int, clips: int = 1, group: int = 1) -> Indices:
    """The reference's evaluation frames: the middle of each segment, further clips shifted by whole frames.

    With `group`, so many consecutive frames in the middle. Returns int64 (clips, num_frames), each row sorted. Of a
    video no longer than the clip (with `group`: shorter), clip number c is the fixed random draw with repetition of
    `RandomState(c)`, of frames or of groups.
    """
    groups = num_frames // group
    if video_frames < num_frames or (group == 1 and video_frames == num_frames):
        starts = max(1, video_frames - group + 1)
        draws = [np.random.RandomState(clip).choice(starts, groups) for clip in range(clips)]
        return _followed(np.sort(np.stack(draws), axis=1), group, video_frames)
    segment, room = _segments(video_frames, groups, group)
    # A shift stays within its segment, whose end belongs to the next one. Ends are multiples of
    # 1 / groups, so the margin must be smaller than that, and larger than the rounding error.
    shifts = np.arange(-clips // 2 + 1, clips // 2 + 1, dtype=np.float64)
    shifts = np.clip(shifts, -room / 2, room / 2 - 1e-6)
    places = room / 2 + shifts[:, None] + segment * np.arange(groups)
    return _followed(places, group, video_frames)


def dense_indices(video_frames: int, num_frames: int, stride: int, clips: int = 1) -> Indices:
    """Every `stride`-th frame from starts that are spread evenly over the video.

    Returns int64 (clips, num_frames). The first clip starts at frame 0, the last ends where the video ends; a
    clip that is longer than the video goes on from its beginning.
    """
    last_start = max(0, video_frames - num_frames * stride)
    starts = np.linspace(0, last_start, clips).astype(np.int64)
    return (starts[:, None] + np.arange(num_frames) * stride) % video_frames


def drawn_by(key: str) -> np.random.Generator:
    """What is random in the evaluation of the video `key`: the same in every run, whoever does it."""
    return np.random.default_rng(list(key.encode()))


def reordered(clips: Indices, order: FrameOrder, key: str) -> Indices:
    """The frame numbers of `clips`, int64 (clips, frames), with those of each clip in `order`.

    Mixing follows from the video's `key`.
    """
    if order == "reverse":
        return np.ascontiguousarray(clips[:, ::-1])
    if order == "shuffle":
        return drawn_by(key).permuted(clips, axis=1)
    return clips


def _segments(video_frames: int, groups: int, group: int) -> tuple[float, float]:
    """The frames of each segment, and from how many of them on, counted from its beginning, a group fits in.

    Segments too short for a group share out, instead of the frames, the places where a group may begin.
    """
    segment = video_frames / groups
    if video_frames >= groups * group:
        return segment, segment - (group - 1)
    share = max(1, video_frames - group + 1) / groups
    return share, share


def _followed(places: NDArray[np.float64] | Indices, group: int, video_frames: int) -> Indices:
    """The frame at each of `places`, (..., groups), and those that follow it in its group: int64 (..., frames)."""
    # rounding in the last segment may reach beyond the last group that there is
    starts = np.minimum(places.astype(np.int64), max(0, video_frames - group))
    frames = np.minimum(starts[..., None] + np.arange(group), video_frames - 1)
    return frames.reshape(*starts.shape[:-1], -1)

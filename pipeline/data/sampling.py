"""Which frames of a video make a clip.

Frame numbers are 0-based. Training draws from a numpy `Generator`, so that the caller's seed decides;
evaluation is a function of the video's length alone. The rules other than `segment_indices` are the published
reference's, oddities included.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def segment_indices(video_frames: int, num_frames: int, rng: np.random.Generator) -> Indices:
    """One frame at an own random place in each of `num_frames` equal segments of the whole video.

    Returns int64 (num_frames,), sorted. A video shorter than the clip repeats frames, spread evenly.
    """
    places = (np.arange(num_frames) + rng.random(num_frames)) * (video_frames / num_frames)
    # rounding in the last segment may reach video_frames itself
    return np.minimum(places.astype(np.int64), video_frames - 1)


def reference_indices(video_frames: int, num_frames: int, rng: np.random.Generator) -> Indices:
    """The reference's training frames: every `video_frames // num_frames`-th, from one random phase.

    Returns int64 (num_frames,), sorted. The tail of the video, up to half of it, is never drawn. A video
    shorter than the clip gives random frames with repetition.
    """
    stride = video_frames // num_frames
    if stride == 0:
        return np.sort(rng.integers(0, video_frames, num_frames))
    return np.arange(num_frames) * stride + rng.integers(0, stride)


def random_dense_indices(
    video_frames: int, num_frames: int, rng: np.random.Generator, stride: int
) -> Indices:
    """Every `stride`-th frame from a random start: the training form of `dense_indices`.

    Returns int64 (num_frames,). A clip that is longer than the video goes on from its beginning.
    """
    start = rng.integers(0, max(0, video_frames - num_frames * stride) + 1)
    return (start + np.arange(num_frames) * stride) % video_frames


def uniform_indices(video_frames: int, num_frames: int, clips: int = 1) -> Indices:
    """The reference's evaluation frames: the middle of each segment, further clips shifted by whole frames.

    Returns int64 (clips, num_frames), each row sorted. Of a video no longer than the clip, clip number c is
    the fixed random draw with repetition of `RandomState(c)`.
    """
    if video_frames <= num_frames:
        draws = [np.random.RandomState(clip).choice(video_frames, num_frames) for clip in range(clips)]
        return np.sort(np.stack(draws).astype(np.int64), axis=1)
    tick = video_frames / num_frames
    # A shift stays within its segment, whose end belongs to the next one. Ends are multiples of
    # 1 / num_frames, so the margin must be smaller than that, and larger than the rounding error.
    shifts = np.arange(-clips // 2 + 1, clips // 2 + 1, dtype=np.float64)
    shifts = np.clip(shifts, -tick / 2, tick / 2 - 1e-6)
    places = tick / 2 + shifts[:, None] + tick * np.arange(num_frames)
    return places.astype(np.int64)


def dense_indices(video_frames: int, num_frames: int, stride: int, clips: int = 1) -> Indices:
    """Every `stride`-th frame from starts that are spread evenly over the video.

    Returns int64 (clips, num_frames). The first clip starts at frame 0, the last ends where the video ends; a
    clip that is longer than the video goes on from its beginning.
    """
    last_start = max(0, video_frames - num_frames * stride)
    starts = np.linspace(0, last_start, clips).astype(np.int64)
    return (starts[:, None] + np.arange(num_frames) * stride) % video_frames

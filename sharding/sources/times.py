"""When frames are shown: seconds from a video's beginning, which never run backwards."""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from av import VideoFrame

from sharding.sources.fault import Unusable

T = TypeVar("T")
Timed = tuple[float, VideoFrame]
"""A frame as the decoder gives it, with its time in seconds from the beginning of the video."""

# Timestamps are rounded (to milliseconds in WebM): a frame this early still counts for its tick.
_CLOCK_TOLERANCE_S = 0.002
# Frames that a decoder puts in order are shown less than this apart. A longer way back is another beginning:
# of a second recording in the same file, or of a counter that ran over.
_OTHER_BEGINNING_S = 2.0


def stamped(frames: Iterable[VideoFrame], base: float, step: float, origin: float | None) -> Iterator[Timed]:
    """Frames with their timestamps in seconds after `origin`, or after the first one's.

    `base` is a timestamp's unit in seconds. A frame without one follows `step` seconds after the last.
    """
    time = 0.0
    for number, frame in enumerate(frames):
        if frame.is_corrupt:
            raise Unusable(f"cannot be decoded: frame {number} is damaged")
        if frame.pts is not None:
            origin = frame.pts * base if origin is None else origin
            time = frame.pts * base - origin
        yield time, frame
        time += step


def sorted_times(timed: Iterable[Timed], depth: int) -> Iterator[Timed]:
    """Frames in their order, with the times sorted: the earliest of `depth` + 1 goes to the first of these frames.

    Decoders give frames in the order in which they are shown. In files that hold no such times (AVI above all) it is
    only the times that are in another order. Those of the result begin at 0.
    """
    frames: deque[VideoFrame] = deque()
    times: list[float] = []
    first: float | None = None
    for time, frame in timed:
        frames.append(frame)
        heapq.heappush(times, time)
        if len(frames) > depth:
            earliest = heapq.heappop(times)
            first = earliest if first is None else first
            yield earliest - first, frames.popleft()
    while frames:
        earliest = heapq.heappop(times)
        first = earliest if first is None else first
        yield earliest - first, frames.popleft()


def joined(timed: Iterable[Timed], step: float) -> Iterator[Timed]:
    """The same frames; those after another beginning go on `step` seconds after the last before it."""
    shift, last = 0.0, -math.inf
    for stated, frame in timed:
        time = stated + shift
        if time < last - _OTHER_BEGINNING_S:
            shift += last + step - time
            time = last + step
        last = max(last, time)
        yield time, frame


def forward(timed: Iterable[Timed]) -> Iterator[Timed]:
    """The same frames; where a time runs backwards, the last one stays."""
    last = -math.inf
    for time, frame in timed:
        last = max(last, time)
        yield last, frame


def between(
    timed: Iterable[tuple[float, T]], start: float | None, end: float | None
) -> Iterator[tuple[float, T]]:
    """Frames shown first in [start, end). Reading stops at `end`."""
    for time, frame in timed:
        if end is not None and time + _CLOCK_TOLERANCE_S >= end:
            return
        if start is None or time + _CLOCK_TOLERANCE_S >= start:
            yield time, frame


def at_most_fps(frames: Iterable[tuple[float, T]], fps: float | None) -> Iterator[tuple[float, T]]:
    """Drop frames until at most `fps` are left a second, evenly; none is repeated, so a slower video stays as it is."""
    if fps is None:
        yield from frames
        return
    last = None
    for time, frame in frames:
        tick = math.floor((time + _CLOCK_TOLERANCE_S) * fps)
        if tick != last:
            last = tick
            yield time, frame

"""How many frames a video is likely to give, from its packets alone: nothing is decoded."""

import io
from pathlib import Path

from av.error import FFmpegError

from sharding.sources.fault import Unusable, regular_size
from sharding.sources.film import film_of, opened
from sharding.sources.times import at_most_fps, between


def expected_frames(
    path: Path | io.BytesIO, start: float | None, end: float | None, fps: float | None
) -> int | None:
    """The frames that `decode.read` and `at_most_fps` will most likely leave; None where that cannot be told.

    A guess: packets may be damaged, hidden, or hold no frame. What is wrong with a file is for `decode.read` to say.
    A film in memory must not be read by anyone else meanwhile.
    """
    try:
        regular_size(path)
        with opened(path) as container:
            stream = film_of(container)
            base = float(stream.time_base or 1)
            times = [
                packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None
            ]
            first = stream.start_time
    except (Unusable, FFmpegError, OSError, ValueError):
        return None
    if not times:
        return None
    origin = min(times) if first is None else first
    seconds = (((time - origin) * base, None) for time in sorted(times))
    return sum(1 for _ in at_most_fps(between(seconds, start, end), fps))

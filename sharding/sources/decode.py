"""One video, a file or a folder of JPEGs, to its frames in display order, one at a time."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from sharding.sources import times
from sharding.sources.fault import Unusable, reasons
from sharding.sources.film import Film
from sharding.sources.flow import PICTURES_A_SECOND, FlowPictures
from sharding.sources.pictures import FPS, Originals, Pictures, in_folder
from sharding.sources.times import Timed, at_most_fps
from sharding.sources.turn import UPRIGHT, Turn

__all__ = ["Source", "Timed", "Unusable", "at_most_fps", "read", "reasons"]


@dataclass(frozen=True)
class Source:
    """A video that is being read: its frames in display order.

    `aspect` is the width of a pixel by its height; `turn`, if known, is what makes its frames upright. `notes` is what
    else is known of it when all frames have been read. `originals` gives the pictures of a folder unchanged, instead
    of `frames`, where that can be done.
    """

    codec: str
    fps: float | None
    frames: Iterator[Timed]
    aspect: Fraction = Fraction(1)
    notes: dict[str, Any] = field(default_factory=dict)
    originals: Callable[[], Originals | None] = lambda: None
    turn: Turn | None = None


def read(
    path: Path | io.BytesIO, start: float | None = None, end: float | None = None, within: Path | None = None
) -> Source:
    """The video at `path`, from `start` up to before `end` (seconds from its beginning).

    A film in memory has a `name`, for formats that FFmpeg tells by it. A folder is a video of its JPEGs in the order
    of the numbers in their names; with `within` none of them may lie outside of that folder. The file is closed when
    its frames end or are given up. Raises `Unusable`, here or while frames are read.
    """
    with reasons():
        if isinstance(path, Path) and path.is_dir():
            return _pictures(path, start, end, within)
        film = Film(path)
    try:
        with reasons():
            frames = film.frames(start, end)
    except BaseException:
        film.close()
        raise
    return Source(film.codec, film.fps, _guarded(frames, film.close), film.aspect, film.notes)


def read_flow(folder: Path, start: float | None, end: float | None, within: Path | None) -> Source:
    """The optical flow in `folder` as a video of gray pictures, x and y by turns, as `read` has it."""
    with reasons():
        if not folder.is_dir():
            raise Unusable("a file, not a folder of flow" if folder.exists() else "no such folder of flow")
        return _source(FlowPictures(folder, within), PICTURES_A_SECOND, UPRIGHT, start, end)


def read_image(file: Path, start: float | None, end: float | None, within: Path | None) -> Source:
    """The picture in `file` as a video of one frame, as `read` has it; there is nothing to cut from it."""
    with reasons():
        if file.is_dir():
            raise Unusable("a folder, not a picture")
        if start is not None or end is not None:
            raise Unusable("a picture has no times; leave its start and end empty")
        pictures = Pictures([file], within)
        return _source(pictures, None, pictures.turn(), None, None)


def _pictures(folder: Path, start: float | None, end: float | None, within: Path | None) -> Source:
    pictures = Pictures(in_folder(folder), within)
    return _source(pictures, FPS, pictures.turn(), start, end)


def _source(
    pictures: Pictures | FlowPictures, fps: float | None, turn: Turn, start: float | None, end: float | None
) -> Source:
    def originals() -> Originals | None:
        with reasons():
            found = pictures.originals()
        if found is None:
            return None
        return Originals(found.size, times.between(found.jpegs, start, end))

    frames = times.between(pictures.frames(), start, end)
    return Source("mjpeg", fps, _guarded(frames, lambda: None), originals=originals, turn=turn)


def _guarded(frames: Iterator[Timed], close: Callable[[], None]) -> Iterator[Timed]:
    """Only what fails in here is the video's fault: a full disk behind the reader is not."""
    with contextlib.ExitStack() as stack:
        stack.callback(close)
        stack.enter_context(reasons())
        yield from frames

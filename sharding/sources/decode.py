"""One video, a file or a folder of JPEGs, to its frames in display order, one at a time."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av import Packet, VideoFrame
from av.codec.context import Flags
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from sharding.format import header
from sharding.sources import blame, truncation

# The rate at which Something-Something v1 was cut into pictures.
PICTURE_FOLDER_FPS = 12.0

# Timestamps are rounded (to milliseconds in WebM): a frame this early still counts for its tick.
_CLOCK_TOLERANCE_S = 0.002

_LIMITS = {"max_pixels": str(header.MAX_PIXELS)}


class Unusable(Exception):  # noqa: N818 - a fact about a video, to be recorded; not an error of the program
    """A video that cannot be used. The text is the recorded reason: the same on every machine, so without its path."""


Timed = tuple[float, VideoFrame]
"""A frame as the decoder gives it, with its time in seconds from the beginning of the video."""


@dataclass(frozen=True)
class Source:
    """A video that is being read: its frames in display order."""

    codec: str
    fps: float | None
    frames: Iterator[Timed]


def read(path: Path, start: float | None = None, end: float | None = None) -> Source:
    """The video at `path`, from `start` up to before `end` (seconds from its beginning).

    A folder is a video of its JPEGs in the order of their names. The file is closed when its frames end or are
    given up. Raises `Unusable`, here or while frames are read.
    """
    with reasons():
        if path.is_dir():
            return Source("mjpeg", PICTURE_FOLDER_FPS, _guarded(_between(_pictures(path), start, end)))
        _check_file(path)
        # The option is for the decoders that FFmpeg tries a stream with before it says what is in it.
        container = av.open(str(path), metadata_errors="replace", options=_LIMITS)
    try:
        with reasons():
            source = _stream(container, start, end)
    except BaseException:
        container.close()
        raise
    return dataclasses.replace(source, frames=_guarded(source.frames, container))


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """What goes wrong with a video in the block, as `Unusable`; the machine's own faults as `OSError`."""
    try:
        yield
    except FFmpegError as error:
        if blame.is_machines(error):
            raise OSError(error.errno, error.strerror) from error
        raise Unusable(f"cannot be decoded: {error.strerror}") from None
    except OSError as error:
        if blame.is_machines(error):
            raise
        raise Unusable(f"cannot be read: {error.strerror}") from None


def _guarded(frames: Iterator[Timed], container: InputContainer | None = None) -> Iterator[Timed]:
    """Only what fails in here is the video's fault: a full disk behind the reader is not."""
    with contextlib.closing(container) if container is not None else contextlib.nullcontext(), reasons():
        yield from frames


def at_most_fps(frames: Iterator[Timed], fps: float | None) -> Iterator[Timed]:
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


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise Unusable("no such file") from None
    if size == 0:
        raise Unusable("empty file (0 bytes)")
    stated = truncation.stated_bytes(path)
    if stated is not None and stated > size:
        raise Unusable(f"truncated: {size} bytes of {stated}")


def _stream(container: InputContainer, start: float | None, end: float | None) -> Source:
    if not container.streams.video:
        raise Unusable("no video stream in it")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise Unusable("its codec is not known here")
    sized = context.width > 0 and context.height > 0
    if sized and (fault := header.size_fault(context.width, context.height)):
        raise Unusable(fault)
    context.options = _LIMITS  # for frames that are larger than the header says
    context.thread_count = 1
    context.flags |= Flags.bitexact
    rate = stream.average_rate or stream.guessed_rate
    fps = round(float(rate), 6) if rate else None
    timed = _timed_from(container, stream, start) if start else _timed(container.decode(stream), stream)
    frames = _between(timed, start, end)
    return Source(context.name, fps, frames if sized else _of_unknown_size(frames))


def _of_unknown_size(frames: Iterator[Timed]) -> Iterator[Timed]:
    """The frames of a stream that FFmpeg found no size for, or one beyond the limit."""
    try:
        yield next(frames)
    except (FFmpegError, StopIteration) as error:
        if blame.is_machines(error):
            raise
        raise Unusable(f"no picture size in it, or more than {header.MAX_PIXELS} pixels") from None
    yield from frames


def _timed(frames: Iterator[VideoFrame], stream: VideoStream) -> Iterator[Timed]:
    """Frames with their seconds from the stream's beginning. One without a timestamp follows at the usual distance."""
    rate = stream.average_rate or stream.guessed_rate
    step = float(1 / rate) if rate else 0.04
    base = float(stream.time_base or 1)
    origin = stream.start_time * base if stream.start_time is not None else None
    time = 0.0
    for number, frame in enumerate(frames):
        if frame.is_corrupt:
            raise Unusable(f"cannot be decoded: frame {number} is damaged")
        if frame.pts is not None:
            origin = frame.pts * base if origin is None else origin
            time = frame.pts * base - origin
        yield time, frame
        time += step


def _timed_from(container: InputContainer, stream: VideoStream, start: float) -> Iterator[Timed]:
    """Frames from the key frame before `start`; from the first one where the container cannot seek there."""
    base = stream.time_base
    if base is not None and stream.start_time is not None:
        target = stream.start_time + math.floor(start / base)
        first = None
        with contextlib.suppress(FFmpegError):
            container.seek(target, stream=stream, backward=True)
            frames = _timed(container.decode(stream), stream)
            first = next(frames, None)
        if first is not None and first[1].pts is not None and first[0] <= start:
            yield first
            yield from frames
            return
        container.seek(stream.start_time, stream=stream, backward=True)
    yield from _timed(container.decode(stream), stream)


def _between(timed: Iterator[Timed], start: float | None, end: float | None) -> Iterator[Timed]:
    """Frames shown first in [start, end). Reading stops at `end`."""
    for time, frame in timed:
        if end is not None and time + _CLOCK_TOLERANCE_S >= end:
            return
        if start is None or time + _CLOCK_TOLERANCE_S >= start:
            yield time, frame


def _pictures(folder: Path) -> Iterator[Timed]:
    """The JPEGs of a folder, at the rate of Something-Something v1."""
    decoder = VideoCodecContext.create("mjpeg", "r")
    decoder.options = _LIMITS
    decoder.thread_count = 1
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in (".jpg", ".jpeg"))
    for number, file in enumerate(files):
        data = file.read_bytes()
        try:
            frames = decoder.decode(Packet(data)) if data else []
        except FFmpegError:
            try:
                header.read(data)
            except ValueError as fault:
                raise Unusable(f"cannot be decoded: picture {file.name}: {fault}") from None
            raise
        if len(frames) != 1 or frames[0].is_corrupt:
            raise Unusable(f"cannot be decoded: picture {file.name} is damaged")
        yield number / PICTURE_FOLDER_FPS, frames[0]

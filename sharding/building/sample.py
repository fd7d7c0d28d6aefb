"""One video to one sample: its frames as a Motion-JPEG blob, and what is to be known of them."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from av.error import FFmpegError

from sharding.archives.films import Film, Films
from sharding.building.settings import MIN_FRAMES, MIN_STEPS, Settings
from sharding.building.spool import Spool
from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.shard import member_fault
from sharding.lists.videos import Video
from sharding.sources import blame, count, decode
from sharding.sources.decode import Source, Unusable
from sharding.sources.fault import check_inside
from sharding.sources.resize import Resizer


def encode(video: Video, folder: Path | Films, settings: Settings) -> tuple[dict[str, Any], Spool]:
    """The sample's JSON, and its JPEGs (to be closed by the caller). Raises `Unusable` with the reason.

    `folder` holds the videos, and its own links must be resolved; or they are `Films` of archives. Whatever goes wrong
    is the video's fault, and so `Unusable`, unless it is the machine's: no memory, no descriptors, no room. That is an
    `OSError`. Archives that have changed are a `UserError`.
    """
    try:
        return _encode(video, folder, settings)
    except (Unusable, UserError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):
            raise  # `reasons` has judged those of reading: this is the room for temporary files
        if blame.is_machines(error):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error
        raise Unusable(blame.reason(error, str(folder) if isinstance(folder, Path) else None)) from error


def _encode(video: Video, folder: Path | Films, settings: Settings) -> tuple[dict[str, Any], Spool]:
    path, within = _found(video, folder, settings)
    most = settings.max_frames
    # Before the film is read: one in memory can be read by one at a time.
    guess = None if most is None else count.expected_frames(path, video.start, video.end, settings.fps)
    wanted = None if most is None or guess is None else _spread(guess, most)
    source = _read(path, video, within, settings)
    taken = _take(source, settings, wanted)
    right = None if most is None else _spread(taken.frames, most)
    if wanted is None and right is not None:
        taken = taken._replace(jpegs=_picked(taken.jpegs, right))
    elif wanted != right:  # the guess was wrong, and now the number is known
        taken.jpegs.close()
        source = decode.read(path, video.start, video.end, within)
        taken = _take(source, settings, right)
    resize, jpegs, frames = taken
    fps = min(source.fps, settings.fps) if source.fps and settings.fps else source.fps
    if most is not None and frames > most:
        fps = round(fps * most / frames, 6) if fps else None
    width, height = resize.size
    meta = {
        "label": video.label,
        "frames": len(jpegs.offsets),
        "offsets": jpegs.offsets,
        "width": width,
        "height": height,
        "fps": fps,
        "source": {
            "fps": source.fps,
            "width": resize.source_size[0],
            "height": resize.source_size[1],
            "codec": source.codec,
            **source.notes,
        },
        **video.about,
    }
    return meta, jpegs


def _found(video: Video, folder: Path | Films, settings: Settings) -> tuple[Path | Film, Path | None]:
    """The film or folder of pictures, and the folder that its links may not lead out of."""
    if isinstance(folder, Films):
        film = folder.read(video.path)
        if film is None:
            raise Unusable("no such file")
        return film, None
    path = folder / video.path
    if settings.follow_links:
        return path, None
    check_inside(path, folder)
    return path, folder


def _read(path: Path | Film, video: Video, within: Path | None, settings: Settings) -> Source:
    if settings.input == "rgb":
        return decode.read(path, video.start, video.end, within)
    assert isinstance(path, Path)
    if settings.input == "image":
        return decode.read_image(path, video.start, video.end, within)
    return decode.read_flow(path, video.start, video.end, within)


class _Taken(NamedTuple):
    """A video that was read: the JPEGs of its frames, or of some of them, and how many frames it has."""

    resize: Resizer
    jpegs: Spool
    frames: int


def _take(source: Source, settings: Settings, wanted: Sequence[int] | None) -> _Taken:
    """Decode the video and encode the frames of the numbers `wanted`, or all of them."""
    jpegs = Spool()
    frames = 0
    try:
        resize = Resizer(settings.short_side, settings.enlarge, source.aspect, source.turn)
        for jpeg in _jpegs(source, resize, settings, None if wanted is None else set(wanted)):
            frames += 1
            if jpeg is None:
                continue
            jpegs.append(jpeg)
            if fault := member_fault(jpegs.bytes):
                raise Unusable(fault)
        if settings.input == "flow" and frames < 2 * MIN_STEPS:
            raise Unusable(f"{frames // 2} steps of flow, fewer than {MIN_STEPS}")
        if frames < MIN_FRAMES and settings.input != "image":
            raise Unusable(f"{frames} frames, fewer than {MIN_FRAMES}")
    except BaseException:
        jpegs.close()
        raise
    return _Taken(resize, jpegs, frames)


def _jpegs(
    source: Source, resize: Resizer, settings: Settings, wanted: set[int] | None
) -> Iterator[bytes | None]:
    """The sample's frames, None for one that is not wanted.

    At its own size a folder's pictures as they are, if they can be; else encoded anew.
    """
    originals = source.originals() if settings.short_side is None else None
    if originals is not None:
        resize.size = resize.source_size = originals.size
        for number, (_, jpeg) in enumerate(decode.at_most_fps(originals.jpegs, settings.fps)):
            yield jpeg if wanted is None or number in wanted else None
        return
    for number, (_, frame) in enumerate(decode.at_most_fps(source.frames, settings.fps)):
        if wanted is None or number in wanted:
            with decode.reasons():
                planes = resize(frame)
            if settings.input == "flow":
                yield mjpeg.encode_gray(planes[0], settings.quality)
            else:
                yield mjpeg.encode_planes(planes, settings.quality)
        else:
            if number == 0:  # it decides the size
                with decode.reasons():
                    resize.begin(frame)
            yield None


def _spread(frames: int, count: int) -> list[int] | None:
    """The numbers of `count` frames of so many, the middle one of each of `count` equal parts; None for all."""
    if frames <= count:
        return None
    return [(2 * part + 1) * frames // (2 * count) for part in range(count)]


def _picked(jpegs: Spool, numbers: Sequence[int]) -> Spool:
    """The JPEGs of these numbers, and the others closed."""
    picked = Spool()
    with jpegs:
        for jpeg in jpegs.pick(numbers):
            picked.append(jpeg)
    return picked

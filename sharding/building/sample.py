"""One video to one sample: its frames as a Motion-JPEG blob, and what is to be known of them."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from sharding.archives.films import Film, Films
from sharding.building.settings import MIN_FRAMES, Settings
from sharding.building.spool import Spool
from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.shard import member_fault
from sharding.sources import blame, decode
from sharding.sources.decode import Source, Unusable
from sharding.sources.fault import check_inside
from sharding.sources.resize import Resizer
from sharding.sources.videos import Video


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
    jpegs = Spool()
    try:
        source = decode.read(path, video.start, video.end, within)
        resize = Resizer(settings.short_side, settings.enlarge, source.aspect, source.turn)
        for jpeg in _jpegs(source, resize, settings):
            jpegs.append(jpeg)
            if fault := member_fault(jpegs.bytes):
                raise Unusable(fault)
        frames = len(jpegs.offsets)
        if frames < MIN_FRAMES:
            raise Unusable(f"{frames} frames, fewer than {MIN_FRAMES}")
        fps = min(source.fps, settings.fps) if source.fps and settings.fps else source.fps
        if settings.max_frames is not None and frames > settings.max_frames:
            fps = round(fps * settings.max_frames / frames, 6) if fps else None
            jpegs = _spread(jpegs, settings.max_frames)
    except BaseException:
        jpegs.close()
        raise
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


def _jpegs(source: Source, resize: Resizer, settings: Settings) -> Iterator[bytes]:
    """The sample's frames: at its own size a folder's pictures as they are, if they can be; else encoded anew."""
    originals = source.originals() if settings.short_side is None else None
    if originals is not None:
        resize.size = resize.source_size = originals.size
        for _, jpeg in decode.at_most_fps(originals.jpegs, settings.fps):
            yield jpeg
        return
    for _, frame in decode.at_most_fps(source.frames, settings.fps):
        with decode.reasons():
            planes = resize(frame)
        yield mjpeg.encode_planes(planes, settings.quality)


def _spread(jpegs: Spool, count: int) -> Spool:
    """`count` of the JPEGs, the middle one of each of `count` equal parts."""
    spread = Spool()
    frames = len(jpegs.offsets)
    with jpegs:
        for jpeg in jpegs.pick([(2 * part + 1) * frames // (2 * count) for part in range(count)]):
            spread.append(jpeg)
    return spread

"""One video to one sample: its frames as a Motion-JPEG blob, or its film, and what is to be known of them."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
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
from sharding.sources.fault import check_inside, regular_size
from sharding.sources.resize import Resizer


def encode(video: Video, folder: Path | Films, settings: Settings) -> tuple[dict[str, Any], Spool]:
    """The sample's JSON, and its JPEGs (to be closed by the caller). Raises `Unusable` with the reason.

    `folder` holds the videos, and its own links must be resolved; or they are `Films` of archives. Whatever goes wrong
    is the video's fault, and so `Unusable`, unless it is the machine's: no memory, no descriptors, no room. That is an
    `OSError`. Archives that have changed are a `UserError`.
    """
    with _judged(folder):
        return _encode(video, *_found(video, folder, settings), settings)


class Kept(NamedTuple):
    """A video whose film is kept as it came: the sample's JSON, the ending of the film's file, and its bytes.

    `jpegs`: what `encode` gives of it (to be closed by the caller), where the settings ask for that.
    """

    meta: dict[str, Any]
    ending: str
    film: bytes
    jpegs: tuple[dict[str, Any], Spool] | None


def keep(video: Video, folder: Path | Films, settings: Settings) -> Kept:
    """The video as it came, which was decoded to its end all the same. Raises what `encode` does."""
    with _judged(folder):
        content = _content(_found(video, folder, settings)[0])
        if member_fault(len(content)):
            raise Unusable(f"a film of {len(content)} bytes, more than a member of a tar can have")
        ending = _ending(video.path)
        film = Film(content, f"{video.key}.{ending}")  # as readers will have it
        if settings.jpeg_hash:
            meta, jpegs = _encode(video, film, None, settings)
            return Kept(_without_offsets(meta), ending, content, (meta, jpegs))
        taken = _take(video, film, None, settings, [0])
        taken.jpegs.close()
        meta = _meta(video, taken, taken.frames, taken.source.fps)
        return Kept(_without_offsets(meta), ending, content, None)


def encode_film(video: Video, film: Film, settings: Settings) -> tuple[dict[str, Any], Spool]:
    """What `encode` gives of a video that `keep` has kept: `film` has the name of its file in the shard."""
    with _judged(None):
        return _encode(video, film, None, settings)


@contextlib.contextmanager
def _judged(folder: Path | Films | None) -> Iterator[None]:
    """Whatever goes wrong in the block is the video's fault, unless it is the machine's: see `encode`."""
    try:
        yield
    except (Unusable, UserError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):
            raise  # `reasons` has judged those of reading: this is the room for temporary files
        if blame.is_machines(error):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error
        raise Unusable(blame.reason(error, str(folder) if isinstance(folder, Path) else None)) from error


def _encode(
    video: Video, path: Path | Film, within: Path | None, settings: Settings
) -> tuple[dict[str, Any], Spool]:
    most = settings.max_frames
    # Before the film is read: one in memory can be read by one at a time.
    guess = None if most is None else count.expected_frames(path, video.start, video.end, settings.fps)
    wanted = None if most is None or guess is None else _spread(guess, most)
    taken = _take(video, path, within, settings, wanted)
    right = None if most is None else _spread(taken.frames, most)
    if wanted is None and right is not None:
        taken = taken._replace(jpegs=_picked(taken.jpegs, right))
    elif wanted != right:  # the guess was wrong, and now the number is known
        taken.jpegs.close()
        taken = _take(video, path, within, settings, right)
    fps = taken.source.fps
    if fps and settings.fps:
        fps = min(fps, settings.fps)
    if most is not None and taken.frames > most:
        fps = round(fps * most / taken.frames, 6) if fps else None
    return _meta(video, taken, len(taken.jpegs.offsets), fps), taken.jpegs


def _meta(video: Video, taken: "_Taken", frames: int, fps: float | None) -> dict[str, Any]:
    """The sample's JSON; of a film that is kept, `frames` are more than were encoded."""
    source, (width, height) = taken.source, taken.resize.size
    return {
        "label": video.label,
        "frames": frames,
        "offsets": taken.jpegs.offsets,
        "width": width,
        "height": height,
        "fps": fps,
        "source": {
            "fps": source.fps,
            "width": taken.resize.source_size[0],
            "height": taken.resize.source_size[1],
            "codec": source.codec,
            **source.notes,
        },
        **video.about,
    }


_OF_FRAMES = ("label", "frames", "offsets", "width", "height", "fps", "source")
"""What `_meta` says of any video; the rest is the annotations'."""


def about(meta: dict[str, Any]) -> dict[str, Any]:
    """What annotations said of the video whose sample has this JSON, beside its label."""
    return {name: value for name, value in meta.items() if name not in _OF_FRAMES}


def _without_offsets(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name != "offsets"}


def _content(path: Path | Film) -> bytes:
    """A film's bytes. Raises `UserError` for a folder of pictures."""
    if isinstance(path, Film):
        return path.getvalue()
    with decode.reasons():
        if path.is_dir():
            raise UserError(f"{path}: a folder of pictures; --store film keeps films: leave it out")
        return path.read_bytes() if regular_size(path) else b""


def _ending(path: str) -> str:
    """That of the film's file in a shard: its own, by which FFmpeg knows some formats, where the tar can hold that."""
    ending = PurePosixPath(path).suffix[1:].lower()
    return ending if _PLAIN.fullmatch(ending) and ending != "json" else "film"


_PLAIN = re.compile("[0-9a-z]{1,5}")


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

    source: Source
    resize: Resizer
    jpegs: Spool
    frames: int


def _take(
    video: Video, path: Path | Film, within: Path | None, settings: Settings, wanted: Sequence[int] | None
) -> _Taken:
    """Decode the video and encode the frames of the numbers `wanted`, or all of them."""
    source = _read(path, video, within, settings)
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
    return _Taken(source, resize, jpegs, frames)


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

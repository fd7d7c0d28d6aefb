"""One video to one sample: its frames as a Motion-JPEG blob, and what is to be known of them."""

import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from sharding import decode, mjpeg
from sharding.annotations import Video
from sharding.decode import Unusable
from sharding.resize import Resizer
from sharding.settings import MIN_FRAMES, Settings

# A longer blob goes to a temporary file, so that memory does not grow with the length of a video.
_IN_MEMORY_BYTES = 32 << 20


def spool() -> BinaryIO:
    """An empty place for one blob."""
    return tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # type: ignore[return-value]


def encode(video: Video, folder: Path, settings: Settings) -> tuple[dict[str, Any], BinaryIO]:
    """The sample's JSON, and its blob (to be closed by the caller). Raises `Unusable` with the reason.

    `folder` holds the videos; its own links must be resolved.
    """
    path = _inside(folder, video.path, settings.follow_links)
    blob = spool()
    try:
        source = decode.read(path, video.start, video.end)
        resize = Resizer(settings.short_side, settings.enlarge)
        offsets = []
        position = 0
        for _, frame in decode.at_most_fps(source.frames, settings.fps):
            with decode.reasons():
                planes = resize(frame)
            offsets.append(position)
            position += blob.write(mjpeg.encode_planes(planes, settings.quality))
        fps = min(source.fps, settings.fps) if source.fps and settings.fps else source.fps
        if len(offsets) < MIN_FRAMES:
            raise Unusable(f"{len(offsets)} frames, fewer than {MIN_FRAMES}")
        if settings.max_frames is not None and len(offsets) > settings.max_frames:
            fps = round(fps * settings.max_frames / len(offsets), 6) if fps else None
            blob, offsets = _thinned(blob, [*offsets, position], settings.max_frames)
    except BaseException:
        blob.close()
        raise
    width, height = resize.size
    meta = {
        "label": video.label,
        "frames": len(offsets),
        "offsets": offsets,
        "width": width,
        "height": height,
        "fps": fps,
        "source": {
            "fps": source.fps,
            "width": resize.source_size[0],
            "height": resize.source_size[1],
            "codec": source.codec,
        },
        **video.about,
    }
    return meta, blob


def _inside(folder: Path, relative: str, follow_links: bool) -> Path:
    path = folder / relative
    if not follow_links:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError):
            raise Unusable("cannot be read: its symbolic links lead nowhere") from None
        if not resolved.is_relative_to(folder):
            raise Unusable("a symbolic link out of the video folder (--follow-links allows it)")
    return path


def _thinned(blob: BinaryIO, bounds: list[int], count: int) -> tuple[BinaryIO, list[int]]:
    """`count` of a blob's JPEGs, the middle one of each of `count` equal parts. `bounds`: each start, and the end."""
    frames = len(bounds) - 1
    thinned = spool()
    offsets = []
    position = 0
    with blob:
        for part in range(count):
            i = (2 * part + 1) * frames // (2 * count)
            blob.seek(bounds[i])
            offsets.append(position)
            position += thinned.write(blob.read(bounds[i + 1] - bounds[i]))
    return thinned, offsets

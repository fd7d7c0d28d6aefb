"""Contact sheets: every k-th frame of a sample, small, read from its shard."""

import math
from dataclasses import dataclass, field

from sharding import storage
from sharding.errors import UserError
from sharding.foreign import sample
from sharding.format import mjpeg
from sharding.format.mjpeg import Array
from sharding.format.rows import SampleRow
from sharding.format.shard import Meta

_QUALITY = 75
_PICTURES = 10  # in a row, unless a user asks for every k-th frame
_TALLEST = 128
_SMALLEST = 32
# What a page's pictures may take together, and roughly what one takes, as base64, for each pixel.
_PAGE_BYTES = 3.5e6
_BYTES_PER_PIXEL = 0.33
_ASPECT = 1.6


@dataclass(frozen=True)
class Picture:
    """A frame of a sample, made smaller, as a JPEG; its size in pixels."""

    frame: int
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True)
class Sheet:
    """A sample: what its JSON says, and its pictures; where it cannot be read, the `problem`."""

    row: SampleRow
    about: Meta | None = None
    pictures: list[Picture] = field(default_factory=list)
    problem: str | None = None


def frames(count: int, every: int | None) -> range:
    """The frames to show of `count`: every k-th, or some ten, evenly."""
    return range(0, count, every or math.ceil(count / _PICTURES))


def picture_height(pictures: int) -> int:
    """How high the pictures may be, in pixels, so that the page of all of them stays small."""
    pixels = _PAGE_BYTES / max(1, pictures) / _BYTES_PER_PIXEL
    return min(_TALLEST, max(_SMALLEST, int(math.sqrt(pixels / _ASPECT))))


def read(tar_url: str, row: SampleRow, every: int | None, height: int) -> Sheet:
    """The sheet of one sample, of pictures at most `height` pixels high. Nothing else of the tar is read."""
    try:
        with storage.open_read(tar_url, row.offset, row.offset + row.bytes) as stream:
            span = stream.read()
        meta, inside = sample.of_any(row, span)
        shown = frames(meta.frames, every)
        each = inside.each(shown, (meta.width, meta.height))
        pictures = [_picture(whole, frame, height) for frame, whole in zip(shown, each, strict=True)]
    except (UserError, ValueError) as error:
        return Sheet(row, problem=str(error))
    return Sheet(row, meta, pictures)


def _picture(whole: Array, frame: int, height: int) -> Picture:
    small = _smaller(whole, height)
    return Picture(frame, small.shape[1], small.shape[0], mjpeg.encode_rgb(small, _QUALITY))


def _smaller(frame: Array, height: int) -> Array:
    """uint8 (H, W, 3) divided by a whole number, so that H is at most `height`: the means of square blocks."""
    rows, columns, channels = frame.shape
    block = min(math.ceil(rows / height), columns)
    cut = frame[: rows // block * block, : columns // block * block]
    blocks = cut.reshape(rows // block, block, columns // block, block, channels)
    means: Array = (blocks.mean(axis=(1, 3), dtype="float32") + 0.5).astype("uint8")
    return means

"""Frames to and from Motion-JPEG: baseline JPEGs, one after another in one blob. Nothing else encodes or decodes JPEG.

A reader of its own needs only these lines (`offsets` is in the sample's JSON):

    ends = [*offsets[1:], len(blob)]
    frames = [simplejpeg.decode_jpeg(blob[a:b]) for a, b in zip(offsets, ends)]
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import simplejpeg

from sharding.format import turbojpeg
from sharding.format.turbojpeg import Region

Array = npt.NDArray[np.uint8]
Planes = tuple[Array, Array, Array]
"""Y (H, W), U and V (ceil(H / 2), ceil(W / 2)), uint8, full-range BT.601: what JPEG means."""


def encode_planes(planes: Planes, quality: int) -> bytes:
    """One frame in YUV 4:2:0 as a baseline JPEG, without a detour through RGB."""
    y, u, v = planes
    jpeg: bytes = simplejpeg.encode_jpeg_yuv_planes(_filled_up(y), u, v, quality=quality)
    return jpeg


def _filled_up(y: Array) -> Array:
    """`y`, with its last row and column repeated behind its ends where its sides are odd.

    The encoder reads luma up to even sides, and what lies there in memory is in the JPEG's bytes: different ones
    in every run (test_mjpeg.py: test_bytes_do_not_depend_on_what_lies_behind_the_planes).
    """
    height, width = y.shape
    if height % 2 == 0 and width % 2 == 0:
        return y
    even = np.empty((height + height % 2, width + width % 2), np.uint8)
    even[:height, :width] = y
    even[:height, width:] = y[:, -1:]
    even[height:] = even[height - 1]
    return even[:height, :width]


def encode_rgb(frame: Array, quality: int) -> bytes:
    """One RGB frame (H, W, 3) as a baseline JPEG with 4:2:0 chroma."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return jpeg


def size(jpeg: bytes | memoryview) -> tuple[int, int]:
    """Width and height that a JPEG states. Raises ValueError for what is no JPEG."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    return width, height


def check(jpeg: bytes | memoryview) -> tuple[int, int]:
    """Decode a JPEG to its last block, and return its width and height. Raises ValueError where it is damaged."""
    height, width, _ = simplejpeg.decode_jpeg(jpeg, colorspace="GRAY").shape
    return width, height


_MARGIN = 2
"""Pixels around a region whose colours a decoder needs too, for those of its rim: chroma has half their number."""
_ACROSS = 16
"""Pixels of a block of 4:2:0: where a decoder can begin in a row."""


def region_of(box: tuple[int, int, int, int], width: int, height: int) -> Region:
    """The least part of frames that must be decoded for the pixels of `box` (x, y, w, h) to be those of whole frames.

    Only rows below it are left out where there is no libturbojpeg 3.
    """
    x, y, w, h = box
    lower = min(height, y + h + _MARGIN)
    if not turbojpeg.available():
        return Region(0, 0, width, lower)
    left, upper = max(0, x - _MARGIN) // _ACROSS * _ACROSS, max(0, y - _MARGIN)
    return Region(left, upper, min(width, x + w + _MARGIN) - left, lower - upper)


def decode(
    blob: bytes | memoryview,
    offsets: Sequence[int],
    which: Sequence[int] | Array,
    out: Array | None = None,
    bgr: bool = False,
    region: Region | None = None,
) -> Array:
    """Frames `which` of a blob as RGB (or BGR), uint8 (n, H, W, 3), in the order asked for.

    `offsets` are the starts of all JPEGs in the blob. Each frame is decoded straight into its place in `out`, which
    is made where None is given. Of a `region`, which is one of `region_of`, only the box that it was made for is exact.
    A frame asked for several times in a row is decoded once. Raises ValueError for a damaged JPEG or an `out`
    that does not fit, IndexError for a frame that is not there.
    """
    view = memoryview(blob)
    numbers = [int(i) for i in which]
    count = len(offsets)
    if any(not 0 <= i < count for i in numbers):
        raise IndexError(f"frames {numbers} asked for, the blob has {count}")

    def jpeg(i: int) -> memoryview:
        return view[offsets[i] : offsets[i + 1] if i + 1 < count else len(view)]

    width, height = size(jpeg(numbers[0])) if numbers else (0, 0)
    part = region or Region(0, 0, width, height)
    shape = (len(numbers), part.height, part.width, 3)
    if out is None:
        out = np.empty(shape, np.uint8)
    if part.x + part.width > width or part.y + part.height > height:
        raise ValueError(f"{part} is not within a frame of {width}x{height}")
    if out.shape != shape or not out.flags.c_contiguous:
        raise ValueError(f"out of shape {out.shape} for {len(numbers)} frames; it must be contiguous {shape}")
    with _decoder(part, (width, height), bgr) as decode_one:
        for place, i in enumerate(numbers):
            if place and numbers[place - 1] == i:
                out[place] = out[place - 1]
            else:
                decode_one(jpeg(i), out[place])
    return out


@contextmanager
def _decoder(
    region: Region, size: tuple[int, int], bgr: bool
) -> Iterator[Callable[[memoryview, Array], None]]:
    """What fills an array with `region` of a JPEG of `size`, both (width, height)."""
    width, height = size
    whole = region == (0, 0, width, height)
    if turbojpeg.available() and not whole:
        with turbojpeg.Decoder() as decoder:
            yield lambda jpeg, out: decoder.decode(jpeg, region, size, out, bgr)
        return

    def decode_rows(jpeg: memoryview, out: Array) -> None:
        source = jpeg if whole else _shortened(jpeg, region.height)
        # What follows the rows of a shortened frame is an error to the strict decoder.
        decoded = simplejpeg.decode_jpeg(source, colorspace="BGR" if bgr else "RGB", buffer=out, strict=whole)
        if decoded.shape != out.shape:
            raise ValueError(f"a frame is {decoded.shape[:2]}, expected {out.shape[:2]} (height, width)")

    yield decode_rows


def _shortened(jpeg: memoryview, rows: int) -> bytearray:
    """The JPEG with a stated height of `rows`, so that a decoder stops there.

    Segments follow one another, each a marker and its length; the height is in the start-of-frame segment, 0xC0 for
    baseline (ITU T.81, B.2.2).
    """
    short = bytearray(jpeg)
    position = 2
    while short[position + 1] != 0xC0:
        position += 2 + int.from_bytes(short[position + 2 : position + 4], "big")
    short[position + 5 : position + 7] = rows.to_bytes(2, "big")
    return short

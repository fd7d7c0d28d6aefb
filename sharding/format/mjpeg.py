"""Frames to and from Motion-JPEG: baseline JPEGs, one after another in one blob. Nothing else encodes or decodes JPEG.

A reader of its own needs only these lines (`offsets` is in the sample's JSON):

    ends = [*offsets[1:], len(blob)]
    frames = [simplejpeg.decode_jpeg(blob[a:b]) for a, b in zip(offsets, ends)]
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg

from sharding.format import header, turbojpeg
from sharding.format.header import Header
from sharding.format.turbojpeg import Region

Array = npt.NDArray[np.uint8]
Planes = tuple[Array, Array, Array]
"""Y (H, W), U and V (ceil(H / 2), ceil(W / 2)), uint8, full-range BT.601: what JPEG means."""
Colours = Literal["RGB", "BGR", "GRAY"]
"""What pixels are decoded to: three bytes in this order, or luma alone."""


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


def encode_gray(picture: Array, quality: int) -> bytes:
    """A picture (H, W) as a baseline JPEG of one channel."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture)[..., None], quality=quality, colorspace="GRAY", colorsubsampling="Gray"
    )
    return jpeg


def check(number: int, jpeg: bytes | memoryview, size: tuple[int, int]) -> None:
    """Decode frame `number` of a sample to its last block.

    Raises ValueError where it is damaged, not of `size` (width, height), or of a kind that is not read.
    """
    header.of_frame(number, jpeg, size)  # before a decoder reserves what it claims to need
    try:
        # At an eighth of the size every block is read all the same, and less is made of it.
        simplejpeg.decode_jpeg(jpeg, colorspace="GRAY", min_height=1, min_width=1)
    except ValueError as error:
        raise ValueError(f"frame {number}: {error}") from None


_MARGIN = 2
"""Pixels around a region whose colours a decoder needs too, for those of its rim: chroma has half their number."""
_ACROSS = 16
"""Pixels that a block of 4:2:0 or 4:2:2 spans: where a decoder can begin in a row, if not of 4:1:1."""


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


def fresh(shape: tuple[int, ...]) -> Array:
    """Memory of its own for decoded frames."""
    return np.empty(shape, np.uint8)


def decode(
    blob: bytes | memoryview,
    offsets: Sequence[int],
    which: Sequence[int] | Array,
    size: tuple[int, int],
    colours: Colours = "RGB",
    region: Region | None = None,
    room: Callable[[tuple[int, ...]], Array] = fresh,
) -> Array:
    """Frames `which` of a blob, uint8 (n, H, W, 3), or (n, H, W, 1) of GRAY, in the order asked for.

    `offsets` are the starts of all JPEGs in the blob, `size` the width and height that each of them must have. Their
    headers are read first; then `room` gives the memory, contiguous uint8 of the shape it is asked for, into which
    each frame is decoded straight. Of a `region`, which is one of `region_of`, only the box that it was made for is
    exact. A frame asked for several times in a row is decoded once. Raises ValueError for a JPEG that is damaged, of
    another size, or of a kind that is not read; IndexError for a frame that is not there.
    """
    view = memoryview(blob)
    ends = [*offsets[1:], len(view)]
    return _decode(lambda i: view[offsets[i] : ends[i]], len(offsets), which, size, colours, region, room)


def decode_each(
    jpegs: Sequence[bytes | memoryview],
    which: Sequence[int] | Array,
    size: tuple[int, int],
    colours: Colours = "RGB",
    region: Region | None = None,
    room: Callable[[tuple[int, ...]], Array] = fresh,
) -> Array:
    """The same of JPEGs that lie anywhere."""
    return _decode(lambda i: memoryview(jpegs[i]), len(jpegs), which, size, colours, region, room)


def _decode(
    jpeg_of: Callable[[int], memoryview],
    count: int,
    which: Sequence[int] | Array,
    size: tuple[int, int],
    colours: Colours,
    region: Region | None,
    room: Callable[[tuple[int, ...]], Array],
) -> Array:
    numbers = [int(i) for i in which]
    if any(not 0 <= i < count for i in numbers):
        raise IndexError(f"frames {numbers} asked for, the blob has {count}")
    jpegs = {i: jpeg_of(i) for i in numbers}
    headers = {i: header.of_frame(i, jpeg, size) for i, jpeg in jpegs.items()}
    part = region or Region(0, 0, *size)
    out = room((len(numbers), part.height, part.width, _channels(colours)))
    with _decoder(part, size, colours) as decode_one:
        for place, i in enumerate(numbers):
            if place and numbers[place - 1] == i:
                out[place] = out[place - 1]
            else:
                decode_one(jpegs[i], headers[i], out[place])
    return out


def _channels(colours: Colours) -> int:
    return 1 if colours == "GRAY" else 3


DecodeOne = Callable[[memoryview, Header, Array], None]


@contextmanager
def _decoder(region: Region, size: tuple[int, int], colours: Colours) -> Iterator[DecodeOne]:
    """What fills an array with `region` of a JPEG of `size`, both (width, height)."""
    if region == (0, 0, *size):
        yield lambda jpeg, _, out: _simple(jpeg, colours, out)
    elif turbojpeg.available():
        with turbojpeg.Decoder(region, size, colours) as decoder:

            def decode_region(jpeg: memoryview, found: Header, out: Array) -> None:
                if left := region.x % found.across:  # 4:1:1, which a decoder can begin in fewer places of
                    wide = np.empty((region.height, region.width + left, out.shape[-1]), np.uint8)
                    from_left = region._replace(x=region.x - left, width=region.width + left)
                    with turbojpeg.Decoder(from_left, size, colours) as wider:
                        wider.decode(jpeg, wide)
                    out[:] = wide[:, left:]
                else:
                    decoder.decode(jpeg, out)

            yield decode_region
    else:

        def decode_rows(jpeg: memoryview, found: Header, out: Array) -> None:
            if found.progressive:  # each of its scans goes over all rows
                whole = np.empty((found.height, found.width, out.shape[-1]), np.uint8)
                _simple(jpeg, colours, whole)
                out[:] = whole[: region.height]
            else:
                # What follows the rows of a shortened frame is an error to the strict decoder.
                _simple(_shortened(jpeg, found, region.height), colours, out, strict=False)

        yield decode_rows


def _simple(jpeg: memoryview | bytearray, colours: str, out: Array, strict: bool = True) -> None:
    decoded = simplejpeg.decode_jpeg(jpeg, colorspace=colours, buffer=out, strict=strict)
    if decoded.shape != out.shape:
        raise ValueError(f"a frame is {decoded.shape[:2]}, expected {out.shape[:2]} (height, width)")


def _shortened(jpeg: memoryview, found: Header, rows: int) -> bytearray:
    """The JPEG with a stated height of `rows`, so that a decoder stops there."""
    short = bytearray(jpeg)
    short[found.at : found.at + 2] = rows.to_bytes(2, "big")
    return short

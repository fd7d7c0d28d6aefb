"""A source's luma and chroma to what JPEG means by them: the matrix of BT.601, and full range.

Luma is a weighted sum of red, green and blue, chroma the distance of blue and red from it. Standards differ in the
weights alone, so that grays stay as they are, and what changes is small: a share of the chroma, three small sums for
each pixel.
"""

import functools
from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
from av import VideoFrame

from sharding.format.mjpeg import Array, Planes

# The weights of red and blue, by FFmpeg's number (AVColorSpace): BT.709, FCC, SMPTE 240M, BT.2020 (both kinds).
# All others, "unspecified" included, count as BT.601.
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_BT601 = (0.299, 0.114)
_SHIFT = 14  # of the integer coefficients: exact to a hundredth of a level


def to_bt601(planes: Planes, colorspace: int, full: bool) -> Planes:
    """Full-range planes that are in the matrix of `colorspace`, in BT.601's; unchanged if that is theirs already.

    `full`: whether the source was of full range too. swscale rounds chroma down where it widens a limited one, by
    half a level on average, and that half is added here.
    """
    if colorspace not in _WEIGHTS:
        return planes
    y, u, v = planes
    blue, red = u.astype(np.int32), v.astype(np.int32)
    blue -= 128
    red -= 128
    (yb, yr), (bb, br), (rb, rr) = _coefficients(colorspace)
    half = 1 << (_SHIFT - 1)
    luma_half, chroma_half = (half, half) if full else (half + (yb + yr) // 2, 2 * half)
    more = _shifted_sum(blue, yb, red, yr, luma_half)
    new_u = _added(u, _shifted_sum(blue, bb, red, br, chroma_half))
    new_v = _added(v, _shifted_sum(blue, rb, red, rr, chroma_half))
    wide = _doubled(more)[:, : y.shape[1]]
    new_y = np.empty(y.shape, np.uint8)
    for row in (0, 1):
        part = y[row::2]
        new_y[row::2] = _added(part, wide[: len(part)])
    return new_y, new_u, new_v


def planes_of(frame: VideoFrame, tables: list[bytes] | None = None) -> Planes:
    """The planes of an 8-bit 4:2:0 frame; where there are `tables`, one a plane, what these make of each value."""
    contents = [cast(bytes, plane) for plane in frame.planes]
    if tables is not None:
        contents = [bytes(content).translate(table) for content, table in zip(contents, tables, strict=True)]
    y, u, v = (
        np.frombuffer(content, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for content, plane in zip(contents, frame.planes, strict=True)
    )
    return y, u, v


def tables_of(convert: Callable[[VideoFrame], VideoFrame]) -> list[bytes]:
    """What becomes of each value of each plane in `convert`, which changes 8-bit 4:2:0 frames value by value."""
    ramp = VideoFrame(512, 2, "yuv420p")
    for plane in ramp.planes:
        plane.update((bytes(range(256)) * plane.buffer_size)[: plane.buffer_size])
    return [bytes(cast(bytes, plane))[:256] for plane in convert(ramp).planes]


@functools.cache
def _coefficients(colorspace: int) -> list[list[int]]:
    """What is added to Y, U and V for one level of U and one of V."""
    change = _encoding(*_BT601) @ np.linalg.inv(_encoding(*_WEIGHTS[colorspace])) - np.eye(3)
    rounded: list[list[int]] = np.round(change[:, 1:] * (1 << _SHIFT)).astype(int).tolist()
    return rounded


def _encoding(red: float, blue: float) -> npt.NDArray[np.float64]:
    """The matrix that makes Y, U and V of red, green and blue."""
    luma = np.array([red, 1 - red - blue, blue])
    from_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    from_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.stack([luma, from_blue, from_red])


def _shifted_sum(
    a: npt.NDArray[np.int32], times_a: int, b: npt.NDArray[np.int32], times_b: int, more: int
) -> npt.NDArray[np.int16]:
    total = a * np.int32(times_a)
    total += b * np.int32(times_b)
    total += np.int32(more)
    total >>= _SHIFT
    return total.astype(np.int16)


def _doubled(rows: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Each value twice: as the two halves of a wider number, which is five times as fast as `np.repeat`."""
    return (rows.view(np.uint16).astype(np.uint32) * np.uint32(0x10001)).view(np.int16)


def _added(plane: Array, change: npt.NDArray[np.int16]) -> Array:
    total = plane.astype(np.int16)
    total += change
    np.clip(total, 0, 255, out=total)
    return total.astype(np.uint8)

"""A decoder's frame to planes for the JPEG encoder: size, full-range BT.601, 4:2:0, upright. No detour through RGB."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from sharding.format.mjpeg import Array, Planes

# Bit-exact: the same bytes from every kind of processor. Bilinear (antialiased where it makes smaller) is what PyAV
# and FFmpeg's API do by default; bicubic costs the same, but its sharper edges cost 5 % more bytes and, after
# JPEG's 4:2:0, nearly 1 dB.
_SCALING = (
    0x2 | 0x40000 | 0x80000
)  # SWS_BILINEAR, SWS_ACCURATE_RND, SWS_BITEXACT: not all named in every PyAV

# Numbers of FFmpeg, of which PyAV names some, depending on its version: AVColorSpace -> swscale's matrix (SWS_CS_...).
# All others, "unspecified" included, mean BT.601, as swscale has it.
_BT601 = 5
_MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}  # BT.709, FCC, SMPTE 240M, BT.2020
_LIMITED_RANGE, _FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG

# Chroma that is off by less than this, in chroma pixels, stays as it is.
_NEAR_ENOUGH = 0.05


@dataclass(frozen=True)
class Turn:
    """Swap rows and columns, then flip left to right (x) and top to bottom (y)."""

    transpose: bool
    flip_x: bool
    flip_y: bool


UPRIGHT = Turn(False, False, False)


def target_size(width: int, height: int, short_side: int | None, enlarge: bool = True) -> tuple[int, int]:
    """Width and height after resizing: the shorter side becomes `short_side`, the longer is rounded half up.

    None keeps the source's size; without `enlarge`, so does a source that is smaller already.
    """
    short = min(width, height)
    if short_side is None or (short < short_side and not enlarge):
        return width, height
    return (2 * width * short_side + short) // (2 * short), (2 * height * short_side + short) // (2 * short)


class Resizer:
    """Frames of one video to planes of one size: the first frame decides, for the rare stream that changes its size."""

    def __init__(self, short_side: int | None = 256, enlarge: bool = True) -> None:
        self._short_side, self._enlarge = short_side, enlarge
        self._swscale = VideoReformatter()
        self._turn = UPRIGHT
        self._scaled = (0, 0)
        self.source_size = (0, 0)  # width, height as displayed
        self.size = (0, 0)

    def __call__(self, frame: VideoFrame) -> Planes:
        if self.size == (0, 0):
            self._begin(frame)
        name = frame.format.name
        full = (
            frame.color_range == _FULL_RANGE or name.startswith(("yuvj", "gray", "ya")) or frame.format.is_rgb
        )
        scaled = self._swscale.reformat(
            frame,
            *self._scaled,
            format="yuvj420p",
            src_colorspace=_MATRICES.get(frame.colorspace, _BT601),
            dst_colorspace=_BT601,
            src_color_range=_FULL_RANGE if full else _LIMITED_RANGE,
            dst_color_range=_FULL_RANGE,
            interpolation=_SCALING,
            threads=1,
        )
        y, u, v = (
            np.frombuffer(cast(bytes, p), np.uint8).reshape(p.height, p.line_size)[:, : p.width]
            for p in scaled.planes
        )
        if self._shift_x is not None:
            u, v = _shifted(u, self._shift_x), _shifted(v, self._shift_x)
        if self._shift_y is not None:
            u, v = (np.ascontiguousarray(_shifted(c.T, self._shift_y).T) for c in (u, v))
        if self._turn != UPRIGHT:
            return _turned(y, self._turn), _turned(u, self._turn), _turned(v, self._turn)
        return y, u, v

    def _begin(self, frame: VideoFrame) -> None:
        width, height = frame.width, frame.height
        self._turn = turn_of(frame)
        self._scaled = target_size(width, height, self._short_side, self._enlarge)
        self.size = self._scaled[::-1] if self._turn.transpose else self._scaled
        self.source_size = (height, width) if self._turn.transpose else (width, height)
        self._shift_x = _chroma_shift(width, frame.format.chroma_width(width), self._scaled[0])
        self._shift_y = _chroma_shift(height, frame.format.chroma_height(height), self._scaled[1])


def _chroma_shift(luma: int, chroma: int, scaled: int) -> npt.NDArray[np.int16] | None:
    """How far to the right each chroma sample of a scaled row is to be taken from, in 1/64 sample; None if nowhere.

    The chroma of an odd side covers one pixel more than the side has. swscale makes one chroma row fill the other all
    the same, so that between an odd and an even side it is stretched, at the far end by a whole pixel.
    """
    samples = (scaled + 1) // 2
    covered = chroma * (2 if chroma < luma else 1)
    stretch = (covered / luma) * (scaled / (2 * samples))
    centre = np.arange(samples) + 0.5
    shift = centre / stretch - centre
    return None if np.abs(shift).max() < _NEAR_ENOUGH else np.round(64 * shift).astype(np.int16)


def _shifted(plane: Array, shift: npt.NDArray[np.int16]) -> Array:
    """Each row read `shift` / 64 samples to the right (all of one sign, at most one sample): linear interpolation."""
    moved = np.empty(plane.shape, np.int16)
    if shift.sum() > 0:
        moved[:, :-1], moved[:, -1] = plane[:, 1:], plane[:, -1]
    else:
        moved[:, 1:], moved[:, 0] = plane[:, :-1], plane[:, 0]
    moved -= plane
    moved *= np.abs(shift)
    moved += 32
    moved >>= 6
    moved += plane
    return moved.astype(np.uint8)


def turn_of(frame: VideoFrame) -> Turn:
    """What the frame's display matrix asks for. It takes (x, y) to (a x + c y, b x + d y)."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(cast(bytes, matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Turn(transpose=False, flip_x=a < 0, flip_y=d < 0)


def _turned(plane: Array, turn: Turn) -> Array:
    if turn.transpose:
        plane = plane.T
    return np.ascontiguousarray(plane[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1])

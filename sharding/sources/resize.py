"""A decoder's frame to planes for the JPEG encoder: size, full-range BT.601, 4:2:0, upright, pixels square.

No detour through RGB. swscale takes one for another matrix than BT.601, and rounds down on it: here it scales in the
source's own matrix, and `colours` changes that at the output's size.
"""

import functools
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from sharding.format.header import size_fault
from sharding.format.mjpeg import Array, Planes
from sharding.sources import colours
from sharding.sources.fault import Unusable
from sharding.sources.turn import UPRIGHT, Turn, turn_of, turned

# Bit-exact: the same bytes from every kind of processor. Bilinear (antialiased where it makes smaller) is what PyAV
# and FFmpeg's API do by default; bicubic costs the same, but its sharper edges cost 5 % more bytes and, after
# JPEG's 4:2:0, nearly 1 dB.
_SCALING = (
    0x2 | 0x40000 | 0x80000
)  # SWS_BILINEAR, SWS_ACCURATE_RND, SWS_BITEXACT: not all named in every PyAV

# Numbers of FFmpeg, of which PyAV names some, depending on its version.
_BT601 = 5  # SWS_CS_ITU601
_LIMITED_RANGE, _FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
# What swscale takes for full range, however it is tagged.
_STRETCHED = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)

# A side that every kind of chroma divides.
_WHOLE = 64
# Chroma that is off by less than this, in chroma pixels, stays as it is.
_NEAR_ENOUGH = 0.05


def target_size(
    width: int, height: int, short_side: int | None, enlarge: bool = True, aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """Width and height after resizing: the shorter side becomes `short_side`, the longer is rounded half up.

    `aspect` is the width of a source's pixel by its height; the result's are square. None keeps the source's height;
    without `enlarge`, so does a source that is smaller already.
    """
    across, down = width * aspect.numerator, height * aspect.denominator  # the sides' ratio as it is shown
    short = min(across, down)
    if short_side is None or (short < short_side * aspect.denominator and not enlarge):
        return max(1, (2 * across + aspect.denominator) // (2 * aspect.denominator)), height
    return (2 * across * short_side + short) // (2 * short), (2 * down * short_side + short) // (2 * short)


class Resizer:
    """Frames of one video to planes of one size: the first frame decides, for the rare stream that changes its size.

    `aspect` is the width of a source's pixel by its height; `turn` is what the frames' own matrix is asked for if None.
    """

    def __init__(
        self,
        short_side: int | None = 256,
        enlarge: bool = True,
        aspect: Fraction = Fraction(1),
        turn: Turn | None = None,
    ) -> None:
        self._given_turn = turn
        self._short_side, self._enlarge, self._aspect = short_side, enlarge, aspect
        self._swscale, self._widen = VideoReformatter(), VideoReformatter()
        self._turn = UPRIGHT
        self._scaled = (0, 0)
        self.source_size = (0, 0)  # width, height as displayed
        self.size = (0, 0)

    def __call__(self, frame: VideoFrame) -> Planes:
        if self.size == (0, 0):
            self.begin(frame)
        name = frame.format.name
        rgb, gray = frame.format.is_rgb, name.startswith(("gray", "ya"))
        if rgb and min(component.bits for component in frame.format.components) < 8:
            # On the way to luma swscale leaves out the low bits that such a pixel has not: white would be 248.
            frame = self._widen.reformat(frame, format="rgb24")
        full = frame.color_range == _FULL_RANGE or rgb or gray or name.startswith("yuvj")
        y, u, v = self._planes(frame, full)
        if gray and frame.color_range == _LIMITED_RANGE:
            y = _STRETCHED[y]
        if not rgb and not gray:
            y, u, v = colours.to_bt601((y, u, v), frame.colorspace, full)
        if self._shift_x is not None:
            u, v = _shifted(u, self._shift_x), _shifted(v, self._shift_x)
        if self._shift_y is not None:
            u, v = (np.ascontiguousarray(_shifted(c.T, self._shift_y).T) for c in (u, v))
        if self._turn != UPRIGHT:
            return turned(y, self._turn), turned(u, self._turn), turned(v, self._turn)
        return y, u, v

    def _planes(self, frame: VideoFrame, full: bool) -> Planes:
        """The frame at the right size and of full range, in its own matrix."""
        size = frame.width, frame.height
        top_down = all(plane.line_size > 0 for plane in frame.planes)
        if size == self._scaled and frame.format.name == "yuv420p" and not full and top_down:
            # The same numbers: at its own size swscale takes twice the time of looking them up.
            return colours.planes_of(frame, _widening())
        return colours.planes_of(_reformatted(self._swscale, frame, self._scaled, full))

    def begin(self, frame: VideoFrame) -> None:
        """Let this frame decide the size, without resizing it. `Unusable` for a size that is too large."""
        width, height = frame.width, frame.height
        self._turn = turn_of(frame) if self._given_turn is None else self._given_turn
        self._scaled = target_size(width, height, self._short_side, self._enlarge, self._aspect)
        self.size = self._scaled[::-1] if self._turn.transpose else self._scaled
        if fault := size_fault(*self.size):  # before swscale reserves memory for it
            raise Unusable(fault)
        self.source_size = (height, width) if self._turn.transpose else (width, height)
        self._shift_x = _chroma_shift(width, _WHOLE // frame.format.chroma_width(_WHOLE), self._scaled[0])
        self._shift_y = _chroma_shift(height, _WHOLE // frame.format.chroma_height(_WHOLE), self._scaled[1])


def _reformatted(
    swscale: VideoReformatter, frame: VideoFrame, size: tuple[int, int], full: bool
) -> VideoFrame:
    return swscale.reformat(
        frame,
        *size,
        format="yuvj420p",
        src_colorspace=_BT601,
        dst_colorspace=_BT601,
        src_color_range=_FULL_RANGE if full else _LIMITED_RANGE,
        dst_color_range=_FULL_RANGE,
        interpolation=_SCALING,
        threads=1,
    )


@functools.cache
def _widening() -> list[bytes]:
    """What swscale makes of each value of limited range."""
    return colours.tables_of(
        lambda ramp: _reformatted(VideoReformatter(), ramp, (ramp.width, ramp.height), False)
    )


def _chroma_shift(luma: int, pixels: int, scaled: int) -> npt.NDArray[np.int16] | None:
    """How far to the right each chroma sample of a scaled row is to be taken from, in 1/64 sample; None if nowhere.

    `pixels` is how many of the source's one of its chroma samples covers. The last one of a side that they do not
    divide covers more than the side has. swscale makes one chroma row fill the other all the same, so that between
    such a side and another it is stretched, in 4:2:0 at the far end by a whole pixel.
    """
    samples = (scaled + 1) // 2
    covered = -(-luma // pixels) * pixels
    stretch = (covered / luma) * (scaled / (2 * samples))
    centre = np.arange(samples) + 0.5
    shift = centre / stretch - centre
    return None if np.abs(shift).max() < _NEAR_ENOUGH else np.round(64 * shift).astype(np.int16)


def _shifted(plane: Array, shift: npt.NDArray[np.int16]) -> Array:
    """Each row read `shift` / 64 samples to the right: linear interpolation."""
    place = 64 * np.arange(plane.shape[1]) + shift
    at, last = place >> 6, plane.shape[1] - 1
    moved: npt.NDArray[np.int16] = plane.take(np.clip(at + 1, 0, last), axis=1).astype(np.int16)
    before = plane.take(np.clip(at, 0, last), axis=1)
    moved -= before
    moved *= (place & 63).astype(np.int16)
    moved += 32
    moved >>= 6
    moved += before
    return moved.astype(np.uint8)

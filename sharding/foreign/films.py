"""Films that lie in tars as they came: what is known of them, and the frames that a clip needs, decoded when used.

A film is given as its bytes. Where it has a `name`, FFmpeg looks at that as it would at a file's.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from sharding.format import header
from sharding.format.mjpeg import Array, Colours
from sharding.format.turbojpeg import Region
from sharding.sources.fault import Unusable, reasons
from sharding.sources.film import Film
from sharding.sources.resize import target_size
from sharding.sources.turn import UPRIGHT, turn_of, turned

_PIXELS: dict[Colours, str] = {"RGB": "rgb24", "BGR": "bgr24", "GRAY": "gray"}
# Numbers of FFmpeg: matrices by AVColorSpace, as swscale counts them; all others count as BT.601.
_BT601 = 5
_MATRIX = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_SCALING = 0x2 | 0x40000 | 0x80000  # bilinear, rounded well, the same on every processor


@dataclass(frozen=True)
class Facts:
    """Width and height of a film's frames as they are shown, in pixels, and how many there are."""

    width: int
    height: int
    frames: int


def look(content: io.BytesIO) -> Facts:
    """What is known of a film: every frame is decoded, for no header tells how many can be. Raises `Unusable`."""
    count, size = 0, (0, 0)
    with reasons():
        film = Film(content)
        try:
            for _, frame in film.frames(None, None):
                size = size if count else _Shown(film, frame).size
                count += 1
        finally:
            film.close()
    if not count:
        raise Unusable("no frame in it")
    return Facts(*size, count)


def chosen(
    content: io.BytesIO, which: Iterable[int], size: tuple[int, int], colours: Colours, resized: bool = False
) -> Iterator[tuple[int, Array]]:
    """Frames `which` of a film in ascending order, each with its number: upright, square pixels, all of `size`.

    Frames that nobody asked for are decoded up to the last of `which`, for others are made of them, and not converted.
    Raises ValueError where the film is damaged, has fewer frames, or is of another size, unless it is to be `resized`.
    """
    wanted = sorted(set(which))
    left = iter(wanted)
    next_one = next(left, None)
    try:
        with reasons():
            film = Film(content)
            try:
                shown: _Shown | None = None
                for number, (_, frame) in enumerate(film.frames(None, None)):
                    shown = shown or _Shown(film, frame, size if resized else None)
                    if shown.size != size:
                        (w, h), (width, height) = shown.size, size
                        raise ValueError(f"its frames are {w}x{h}, should be {width}x{height}")
                    if number == next_one:
                        yield number, shown(frame, colours)
                        next_one = next(left, None)
                    if next_one is None:
                        return
            finally:
                film.close()
    except Unusable as error:
        raise ValueError(str(error)) from None
    raise ValueError(f"it ends before frame {next_one}")


def decode(
    content: io.BytesIO,
    which: Sequence[int],
    size: tuple[int, int],
    colours: Colours,
    region: Region,
    out: Array,
    resized: bool = False,
) -> None:
    """Fill `out` with `region` of frames `which`, as `chosen` has them."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(which):
        places.setdefault(number, []).append(place)
    x, y, w, h = region
    for number, picture in chosen(content, places, size, colours, resized):
        out[places[number]] = picture[y : y + h, x : x + w]


class _Shown:
    """How the frames of one film are shown, of `size` if that is given: the first of them decides."""

    def __init__(self, film: Film, first: VideoFrame, size: tuple[int, int] | None = None) -> None:
        self._turn = turn_of(first)
        if size is None:
            self._scaled = target_size(first.width, first.height, None, aspect=film.aspect)
            self.size = self._scaled[::-1] if self._turn.transpose else self._scaled
        else:
            self._scaled = size[::-1] if self._turn.transpose else size
            self.size = size
        if fault := header.size_fault(*self.size):
            raise Unusable(fault)
        self._swscale = VideoReformatter()

    def __call__(self, frame: VideoFrame, colours: Colours) -> Array:
        """uint8 (height, width, channels)."""
        pixels = to_pixels(self._swscale, frame, colours, self._scaled)
        if self._turn == UPRIGHT:
            return pixels
        return np.stack([turned(pixels[..., i], self._turn) for i in range(pixels.shape[-1])], axis=-1)


def to_pixels(
    swscale: VideoReformatter, frame: VideoFrame, colours: Colours, size: tuple[int, int] | None = None
) -> Array:
    """A decoded frame's pixels, uint8 (height, width, channels), in its own matrix and range, of `size` if given."""
    name = frame.format.name
    full = (
        frame.color_range == _FULL_RANGE
        or frame.format.is_rgb
        or name.startswith(("yuvj", "gray", "ya", "pal8"))
    )
    converted = swscale.reformat(
        frame,
        *(size or (frame.width, frame.height)),
        format=_PIXELS[colours],
        src_colorspace=_MATRIX.get(frame.colorspace, _BT601),
        dst_colorspace=_BT601,
        src_color_range=_FULL_RANGE if full else _LIMITED_RANGE,
        dst_color_range=_FULL_RANGE,
        interpolation=_SCALING,
        threads=1,
    )
    pixels = cast(Array, converted.to_ndarray())
    return pixels[..., None] if pixels.ndim == 2 else pixels

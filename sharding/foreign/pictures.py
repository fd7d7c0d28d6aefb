"""PNG and WebP to pixels, by FFmpeg's decoders. Transparency is dropped, as webdataset drops it."""

from collections.abc import Callable, Sequence
from typing import cast

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from sharding.foreign import headers
from sharding.foreign.films import to_pixels
from sharding.format import mjpeg
from sharding.format.mjpeg import Array, Colours
from sharding.format.turbojpeg import Region
from sharding.sources.fault import LIMITS, Unusable, reasons


def decode(
    pictures: Sequence[memoryview],
    which: Sequence[int],
    size: tuple[int, int],
    colours: Colours,
    region: Region,
    room: Callable[[tuple[int, ...]], Array],
) -> Array:
    """Pictures `which`, as `mjpeg.decode` gives them. Raises ValueError for one that is damaged or of another size."""
    out = room((len(which), region.height, region.width, 1 if colours == "GRAY" else 3))
    x, y, w, h = region
    for place, number in enumerate(which):
        picture = pictures[number]
        try:
            found = headers.size(picture)
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
        if found != size:
            raise ValueError(f"frame {number} is {found[0]}x{found[1]}, should be {size[0]}x{size[1]}")
        out[place] = _whole(number, picture, size, colours)[y : y + h, x : x + w]
    return out


def _whole(number: int, picture: memoryview, size: tuple[int, int], colours: Colours) -> Array:
    kind = headers.kind(picture)
    if kind == "jpeg":
        (alone,) = mjpeg.decode_each([picture], [0], size, colours)
        return cast(Array, alone)
    decoder = VideoCodecContext.create(kind, "r")
    decoder.options = LIMITS
    decoder.thread_count = 1
    try:
        with reasons():
            frames = [*decoder.decode(av.Packet(bytes(picture))), *decoder.decode(None)]
            if len(frames) != 1 or frames[0].is_corrupt or (frames[0].width, frames[0].height) != size:
                raise Unusable("cannot be decoded")
            return to_pixels(VideoReformatter(), frames[0], colours)
    except Unusable as reason:
        raise ValueError(f"frame {number}: {reason}") from None

"""What a JPEG says of itself before it is decoded: decoders reserve memory for what they are told.

Markers and segments are those of ITU T.81, annex B.
"""

from typing import NamedTuple

MAX_PIXELS = 1 << 26
"""Of one frame: 8192x8192, more than 8K video has."""
MAX_SIDE = 65500
"""Pixels: what encoders of JPEG can do."""

# Pixels that a byte of JPEG can hold. Each block of 8x8 takes two bits or more of a baseline JPEG; of a progressive
# one, one bit, for what else a block has may be left to runs over thousands of blocks.
_DENSEST = {0xC0: 256, 0xC1: 256, 0xC2: 512}
_PROGRESSIVE = 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a segment, among them the start and the end


class Header(NamedTuple):
    """Width and height in pixels; whether its scans refine one another; what a column of blocks spans in pixels.

    `at`: the byte where the height stands; `is_gray`: it has one channel.
    """

    width: int
    height: int
    progressive: bool
    across: int
    at: int
    is_gray: bool


def read(jpeg: bytes | memoryview) -> Header:
    """The header of a baseline or progressive JPEG, gray or in colour, of 8 bits a channel.

    Raises ValueError for what is no JPEG, for other kinds of JPEG by name, and for one that claims more pixels than
    its bytes can hold or than a frame may have.
    """
    position, end = 2, len(jpeg) - 2
    if end < 0 or jpeg[0] != 0xFF or jpeg[1] != 0xD8:
        raise ValueError("not a JPEG")
    while position + 1 < end:
        marker = jpeg[position + 1]
        if jpeg[position] != 0xFF or marker in _BARE or marker == _SCAN:
            break
        if marker == 0xFF:  # fill
            position += 1
        elif marker in _FRAMES:
            return _frame(jpeg, marker, position + 2)
        else:
            position += 2 + (jpeg[position + 2] << 8 | jpeg[position + 3])
    raise ValueError("not a JPEG: no frame header before its data")


def of_frame(number: int, jpeg: bytes | memoryview, size: tuple[int, int]) -> Header:
    """The header of frame `number` of a sample, which must be of `size` (width, height). Raises ValueError."""
    try:
        found = read(jpeg)
    except ValueError as error:
        raise ValueError(f"frame {number}: {error}") from None
    if found[:2] != size:
        raise ValueError(f"frame {number} is {found.width}x{found.height}, should be {size[0]}x{size[1]}")
    return found


def size_fault(width: int, height: int) -> str | None:
    """Why no frame may have this size, or None."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        return f"{width}x{height} pixels; a side has 1 to {MAX_SIDE}"
    if width * height > MAX_PIXELS:
        return f"{width}x{height} pixels, more than the {MAX_PIXELS} that a frame may have"
    return None


def _frame(jpeg: bytes | memoryview, marker: int, start: int) -> Header:
    """The frame header at `start`: length, precision, height, width, number of channels, and each one's factors."""
    fields = bytes(jpeg[start : start + 17])
    if len(fields) < 17:
        raise ValueError("not a JPEG: its frame header is cut short")
    channels = fields[7]
    if marker not in _DENSEST or fields[2] != 8:
        raise ValueError("a lossless, arithmetic or 12-bit JPEG, which no decoder here reads")
    if channels not in (1, 3):
        raise ValueError(f"a JPEG of {channels} channels; frames are gray or have 3")
    height, width = fields[3] << 8 | fields[4], fields[5] << 8 | fields[6]
    if fault := size_fault(width, height):
        raise ValueError(fault)
    if width * height > _DENSEST[marker] * len(jpeg):
        raise ValueError(f"{width}x{height} pixels, which {len(jpeg)} bytes cannot hold")
    factors = [fields[9 + 3 * i] >> 4 for i in range(channels)]
    if not 0 < min(factors) <= max(factors) <= 4:
        raise ValueError(f"a JPEG whose channels are sampled {factors} times across, not 1 to 4")
    most = max(factors) if channels > 1 else 1  # a gray frame is not interleaved: its factors mean nothing
    return Header(width, height, marker == _PROGRESSIVE, 8 * most, start + 3, channels == 1)

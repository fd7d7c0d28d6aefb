"""Which way up a picture is to be shown: what the container or the camera has noted."""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from av import VideoFrame

from sharding.format.mjpeg import Array


@dataclass(frozen=True)
class Turn:
    """Swap rows and columns, then flip left to right (x) and top to bottom (y)."""

    transpose: bool
    flip_x: bool
    flip_y: bool


UPRIGHT = Turn(False, False, False)
# By quarters, counter-clockwise.
_QUARTERS = [UPRIGHT, Turn(True, False, True), Turn(False, True, True), Turn(True, True, False)]
# By the number that EXIF gives them.
_ORIENTATIONS = {
    2: Turn(False, True, False),
    3: Turn(False, True, True),
    4: Turn(False, False, True),
    5: Turn(True, False, False),
    6: Turn(True, True, False),
    7: Turn(True, True, True),
    8: Turn(True, False, True),
}
_ORIENTATION = 0x0112  # its tag in the first table of a TIFF file, which EXIF data are
_EXIF = b"Exif\0\0"


def turn_of(frame: VideoFrame) -> Turn:
    """What the frame's display matrix asks for. It takes (x, y) to (a x + c y, b x + d y)."""
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV has no name for something beside the matrix, EXIF data for one
        return _QUARTERS[round(frame.rotation / 90) % 4]
    if found is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(cast(bytes, found), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Turn(transpose=False, flip_x=a < 0, flip_y=d < 0)


def turn_of_exif(jpeg: bytes) -> Turn:
    """What the EXIF data of a JPEG ask for."""
    start = jpeg.find(_EXIF, 0, 1 << 16) + len(_EXIF)
    if start < len(_EXIF):
        return UPRIGHT
    order: Literal["little", "big"] = "little" if jpeg[start : start + 2] == b"II" else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(jpeg[start + place : start + place + length], order)

    table = number(4, 4)
    for entry in range(number(table, 2)):
        place = table + 2 + 12 * entry
        if start + place >= len(jpeg):
            break
        if number(place, 2) == _ORIENTATION:
            return _ORIENTATIONS.get(number(place + 8, 2), UPRIGHT)
    return UPRIGHT


def turned(plane: Array, turn: Turn) -> Array:
    """The plane as it is to be shown."""
    if turn.transpose:
        plane = plane.T
    return np.ascontiguousarray(plane[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1])

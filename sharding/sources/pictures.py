"""JPEGs as a video: those of a folder, Something-Something v1's form, or a single one."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from av import Packet, VideoFrame
from av.video.codeccontext import VideoCodecContext

from sharding.format import header, mjpeg
from sharding.sources.fault import LIMITS, Unusable, check_inside, reasons, regular_size
from sharding.sources.times import Timed
from sharding.sources.turn import Turn, turn_of_exif

# The rate at which Something-Something v1 was cut into pictures.
FPS = 12.0

_DIGITS = re.compile(r"([0-9]+)")
_ENDINGS = (".jpg", ".jpeg")
# Sampling factors of Y, U and V: 4:2:0, 4:2:2, 4:4:4.
_SAMPLINGS = {(0x22, 0x11, 0x11), (0x21, 0x11, 0x11), (0x11, 0x11, 0x11)}


@dataclass(frozen=True)
class Originals:
    """Pictures that can go into a shard as they are: their size (width, height), and each with its time in seconds."""

    size: tuple[int, int]
    jpegs: Iterator[tuple[float, bytes]]


class Pictures:
    """JPEGs, one or more, in the order of `files`.

    With `within`, a folder whose links are resolved, no picture may lie outside of it. Raises `Unusable` while pictures
    are read, and names the picture.
    """

    def __init__(self, files: Sequence[Path], within: Path | None = None) -> None:
        self._files, self._within = files, within

    def turn(self) -> Turn:
        """What the first picture's EXIF data ask for."""
        return turn_of_exif(self._read(self._files[0]))

    def frames(self) -> Iterator[Timed]:
        """Every picture decoded."""
        decoder = VideoCodecContext.create("mjpeg", "r")
        decoder.options = LIMITS
        decoder.thread_count = 1
        for number, file in enumerate(self._files):
            yield number / FPS, _decoded(decoder, file, self._checked(file))

    def originals(self) -> Originals | None:
        """The pictures themselves, if each is what a shard holds: baseline, of a usual sampling, all of one size.

        Those with EXIF data are not: it may turn them, and may tell what nobody wants to publish.
        """
        sizes = {_size_as_is(self._read(file)) for file in self._files}
        size = sizes.pop()
        if sizes or size is None:
            return None
        jpegs = ((number / FPS, self._checked(file)) for number, file in enumerate(self._files))
        return Originals(size, jpegs)

    def _read(self, file: Path) -> bytes:
        return read_picture(file, self._within, _shown(file))

    def _checked(self, file: Path) -> bytes:
        return whole_picture(file, self._within, _shown(file))


def in_folder(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names. `Unusable` where there are none."""
    found = sorted(filter(is_picture, folder.iterdir()), key=lambda file: by_numbers(file.name))
    if not found:
        raise Unusable("a folder without pictures (.jpg, .jpeg)")
    return found


def is_picture(file: Path) -> bool:
    """Whether it has a picture's name; hidden files are none."""
    return file.suffix.lower() in _ENDINGS and not file.name.startswith(".")


def read_picture(file: Path, within: Path | None, name: str) -> bytes:
    """The bytes of a picture of a folder that has been looked at. `Unusable`, with its `name`, where links lead out."""
    with _named(name), reasons():
        if within is not None and (file.is_symlink() or file.parent.is_symlink()):
            check_inside(file, within)
        return file.read_bytes() if regular_size(file) else b""


def whole_picture(file: Path, within: Path | None, name: str) -> bytes:
    """The picture's bytes, which decode to the last block. FFmpeg alone fills what is missing with gray."""
    data = read_picture(file, within, name)
    try:
        found = header.read(data)
        mjpeg.check(0, data, (found.width, found.height))
    except ValueError as error:
        reason = str(error).removeprefix("frame 0: ")
        raise Unusable(f"cannot be decoded: picture {name} is damaged ({reason})") from None
    return data


def by_numbers(name: str) -> tuple[list[str | int], str]:
    """For sorting: 2 before 10, whether or not there are zeros in front."""
    parts: list[str | int] = list(_DIGITS.split(name))
    parts[1::2] = [int(str(digits)) for digits in parts[1::2]]
    return parts, name


def _shown(file: Path) -> str:
    return file.name.encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of what is `Unusable` in the block which picture it is."""
    try:
        yield
    except Unusable as reason:
        raise Unusable(f"picture {name}: {reason}") from None


def _decoded(decoder: VideoCodecContext, file: Path, data: bytes) -> VideoFrame:
    with _named(_shown(file)), reasons():
        frames = decoder.decode(Packet(data))
    if len(frames) != 1 or frames[0].is_corrupt:
        raise Unusable(f"cannot be decoded: picture {_shown(file)} is damaged")
    return frames[0]


def _size_as_is(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that a shard can hold unchanged; None for another."""
    try:
        found = header.read(jpeg)
    except ValueError:
        return None
    place = (
        found.at + 4
    )  # the number of channels, then three bytes for each: its name, its factors, its table
    factors = tuple(jpeg[place + 2 + 3 * i] for i in range(jpeg[place]))
    plain = not found.progressive and factors in _SAMPLINGS and jpeg.endswith(b"\xff\xd9")
    return (found.width, found.height) if plain and b"Exif\0\0" not in jpeg[: found.at] else None

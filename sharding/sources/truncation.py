"""How long a video file says it is. Demuxers read a file that was cut short up to its end and say nothing."""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.index import IndexEntries

_BOXES = {
    *(
        b"ftyp",
        b"moov",
        b"mdat",
        b"moof",
        b"mfra",
        b"free",
        b"skip",
        b"wide",
        b"uuid",
        b"meta",
        b"sidx",
        b"styp",
    ),
    *(b"ssix", b"emsg", b"prft", b"pdin", b"pnot", b"PICT", b"udta", b"junk"),
}
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
_SEGMENT, _CLUSTER, _CUES = 0x18538067, 0x1F43B675, 0x1C53BB6B


def stated_bytes(path: Path | io.BytesIO) -> int | None:
    """The number of bytes that the container's own headers ask for; None where they do not tell.

    Knows MP4 and its kin (ISO BMFF boxes), Matroska and WebM (EBML), and AVI (RIFF).
    """
    with _opened(path) as stream:
        kind = _kind(stream)
        if kind == "matroska":
            return _segment(stream)
        if kind == "boxes":
            return max(end for _, end in _boxes(stream))
        if kind == "riff":
            return _riff(stream)
    return None


def is_whole(path: Path | io.BytesIO, index: IndexEntries, frames: int) -> bool:
    """Whether a file that states more bytes than it has is whole all the same, and only its size field is wrong.

    It is if its index lists all its `frames` (0 if the header does not count them) and ends within the file.
    """
    with _opened(path) as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        kind = _kind(stream)
        if kind == "matroska":
            return _ends_with_cues(stream, end)
        if kind == "boxes" and any(name == b"moof" for name, _ in _boxes(stream)):
            return False  # each fragment has an index of its own
    return 0 < len(index) >= frames and max(entry.pos + entry.size for entry in index) <= end


def _opened(path: Path | io.BytesIO) -> BinaryIO:
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(path.getvalue())


def _kind(stream: BinaryIO) -> str | None:
    head = stream.read(12)
    stream.seek(0)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[4:8] in _FIRST_BOXES:
        return "boxes"
    return "riff" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The name of each top-level box, and where it ends. A box: its size (32 bits, big-endian), its name, its content.

    What lies behind the last box and is none is left out.
    """
    end = stream.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        stream.seek(position)
        header = stream.read(16)
        name = header[4:8]
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0: up to the end of the file; less than a header: no box at all
            yield name, position
            return
        if position + size > end and name not in _BOXES:
            return
        position += size
        yield name, position


def _riff(stream: BinaryIO) -> int:
    """Where the last RIFF chunk ends: a long AVI has one for each gigabyte."""
    position = 0
    while (header := stream.read(8))[:4] == b"RIFF" and len(header) == 8:
        size = int(struct.unpack("<I", header[4:])[0])
        position += 8 + size
        if not _skip(stream, size):
            break
    return position


def _segment(stream: BinaryIO) -> int | None:
    """Where the segment ends, the stream at its first element; None where that is not said."""
    if _number(stream, keep_marker=True) is None:
        return None
    size = _number(stream)
    if size is None or not _skip(stream, size):
        return None
    if _number(stream, keep_marker=True) != _SEGMENT:
        return None
    size = _number(stream)
    return None if size is None else stream.tell() + size


def _ends_with_cues(stream: BinaryIO, end: int) -> bool:
    """Whether the segment's elements fill the file exactly, the index behind the last cluster."""
    _segment(stream)
    names = []
    while stream.tell() < end:
        name, size = _number(stream, keep_marker=True), _number(stream)
        if name is None or size is None or not _skip(stream, size):
            return False
        names.append(name)
    clusters_last = [name for name in names if name in (_CLUSTER, _CUES)][-1:]
    return clusters_last == [_CUES]


def _skip(stream: BinaryIO, size: int) -> bool:
    """Go on behind the next `size` bytes. False where the file ends before that.

    A file system refuses to go where no file of its kind could end, and each has its own limit.
    """
    place = stream.tell() + size
    if place > stream.seek(0, os.SEEK_END):
        return False
    stream.seek(place)
    return True


def _number(stream: BinaryIO, keep_marker: bool = False) -> int | None:
    """A number of 1 to 8 bytes: the zeros before the first one bit count the bytes. None for "unknown" (all ones).

    An element is its id, its size (both of such numbers), its content.
    """
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + stream.read(length - 1), "big")
    if keep_marker:
        return value
    value -= 1 << (7 * length)
    return None if value == (1 << (7 * length)) - 1 else value

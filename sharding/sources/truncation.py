"""How long a video file says it is. Demuxers read a file that was cut short up to its end and say nothing."""

import os
import struct
from pathlib import Path
from typing import BinaryIO


def stated_bytes(path: Path) -> int | None:
    """The number of bytes that the container's own headers ask for; None where they do not tell.

    Knows MP4 and its kin (ISO BMFF boxes), Matroska and WebM (EBML), and AVI (RIFF).
    """
    with path.open("rb") as stream:
        head = stream.read(12)
        stream.seek(0)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _matroska(stream)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _boxes(stream)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return 8 + int(struct.unpack("<I", head[4:8])[0])
    return None


def _boxes(stream: BinaryIO) -> int:
    """Where the last top-level box ends. A box is its size (32 bits, big-endian), its name, its content."""
    end = stream.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        stream.seek(position)
        header = stream.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0: up to the end of the file; less than a header: no box at all
            return position
        position += size
    return position


def _matroska(stream: BinaryIO) -> int | None:
    """Where the segment ends. An element is its id, its size (both of variable length), its content."""
    if _number(stream, keep_marker=True) is None:
        return None
    size = _number(stream)
    if size is None:
        return None
    stream.seek(size, os.SEEK_CUR)
    if _number(stream, keep_marker=True) != 0x18538067:
        return None
    size = _number(stream)
    return None if size is None else stream.tell() + size


def _number(stream: BinaryIO, keep_marker: bool = False) -> int | None:
    """A number of 1 to 8 bytes: the zeros before the first one bit count the bytes. None for "unknown" (all ones)."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + stream.read(length - 1), "big")
    if keep_marker:
        return value
    value -= 1 << (7 * length)
    return None if value == (1 << (7 * length)) - 1 else value

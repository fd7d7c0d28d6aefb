"""What kind of picture some bytes are, and how large it is, from its first bytes: nothing is decoded.

PNG: W3C's specification, 11.2.2. WebP: RFC 9649, sections 2.5 to 2.7.
"""

from typing import Literal

from sharding.format import header

Kind = Literal["jpeg", "png", "webp"]

_PNG = b"\x89PNG\r\n\x1a\n"


def kind(picture: bytes | memoryview) -> Kind:
    """JPEG, PNG or WebP, by its content: names lie. Raises ValueError for anything else."""
    first = bytes(picture[:12])
    if is_jpeg(first):
        return "jpeg"
    if first[:8] == _PNG:
        return "png"
    if first[:4] == b"RIFF" and first[8:] == b"WEBP":
        return "webp"
    raise ValueError("neither JPEG nor PNG nor WebP" if first else "empty")


def is_jpeg(picture: bytes | memoryview) -> bool:
    """Whether it begins as a JPEG."""
    return bytes(picture[:2]) == b"\xff\xd8"


def size(picture: bytes | memoryview) -> tuple[int, int]:
    """Width and height in pixels. Raises ValueError for what is no picture, or too large a frame."""
    match kind(picture):
        case "jpeg":
            return header.read(picture)[:2]
        case "png":
            found = _of_png(bytes(picture[:33]))
        case "webp":
            found = _of_webp(bytes(picture[:34]))
    if fault := header.size_fault(*found):
        raise ValueError(fault)
    return found


def _of_png(first: bytes) -> tuple[int, int]:
    if len(first) < 33 or first[12:16] != b"IHDR":
        raise ValueError("a PNG without its header")
    return int.from_bytes(first[16:20], "big"), int.from_bytes(first[20:24], "big")


def _of_webp(first: bytes) -> tuple[int, int]:
    if len(first) < 30:
        raise ValueError("a WebP without its header")
    match first[12:16]:
        case b"VP8 ":
            width, height = (int.from_bytes(first[at : at + 2], "little") & 0x3FFF for at in (26, 28))
            return width, height
        case b"VP8L":
            bits = int.from_bytes(first[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            if first[20] & 2:
                raise ValueError("a WebP that moves, which is not read here")
            return int.from_bytes(first[24:27], "little") + 1, int.from_bytes(first[27:30], "little") + 1
    raise ValueError("a WebP of an unknown kind")

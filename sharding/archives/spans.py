"""Bytes that lie in a file, as they are or deflated: a member of a zip, a film in a tar or in a spool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from isal import isal_zlib

from sharding.errors import UserError

BadDeflateError = cast(type[Exception], isal_zlib.IsalError)
"""Of data that cannot be inflated."""

_READ_BYTES = 1 << 20
_MOST_BYTES = 4 << 20  # inflated at once: what is deflated may be a thousand times as long


@dataclass(frozen=True)
class Span:
    """`stored` bytes of `file` from `offset` on: `size` bytes of content, with this CRC-32 if one is known."""

    file: str
    offset: int
    stored: int
    size: int
    deflated: bool = False
    crc32: int | None = None


def chunks(span: Span, what: str) -> Iterator[bytes]:
    """The content in pieces of a few MB at most. Raises `UserError` about `what` where it is not whole and sound."""
    size = crc = 0
    for chunk in _inflated(span, what) if span.deflated else _raw(span):
        size += len(chunk)
        crc = isal_zlib.crc32(chunk, crc)
        if size > span.size:
            break
        yield chunk
    if size != span.size:
        more = "more than " if size > span.size else f"{size} of "
        raise UserError(f"{what}: damaged: {more}{span.size} bytes in {span.file}; get that file again")
    if span.crc32 is not None and crc != span.crc32:
        raise UserError(f"{what}: damaged: its CRC-32 in {span.file} differs; get that file again")


def read(span: Span, what: str) -> bytes:
    """The whole content. Raises `UserError` as `chunks` does."""
    return b"".join(chunks(span, what))


def _raw(span: Span) -> Iterator[bytes]:
    left = span.stored
    with Path(span.file).open("rb") as stream:
        stream.seek(span.offset)
        while left and (data := stream.read(min(left, _READ_BYTES))):
            left -= len(data)
            yield data


def _inflated(span: Span, what: str) -> Iterator[bytes]:
    inflate = isal_zlib.decompressobj(-15)  # bare: the zip has the CRC
    try:
        for data in _raw(span):
            while data:
                yield inflate.decompress(data, _MOST_BYTES)
                data = inflate.unconsumed_tail
        while not inflate.eof and (rest := inflate.decompress(b"", _MOST_BYTES)):
            yield rest
    except BadDeflateError as error:
        raise UserError(f"{what}: damaged in {span.file} ({error}); get that file again") from None

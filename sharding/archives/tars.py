"""A tar in one pass, from a stream that may not go back. Unlike `tarfile` it says where an archive ends too early."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE
_READ_BYTES = 1 << 20
_MOST_HEADER_BYTES = 1 << 20  # of a name or of other extended headers: they have some hundred
_ZEROS = bytes(_BLOCK)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class BadTarError(Exception):
    """Why the archive is not whole, in words."""


@dataclass(frozen=True)
class Entry:
    """A file in the archive: its name, and its bytes from `offset` of the archive on."""

    name: str
    offset: int
    size: int


class Tar:
    """The files of a tar, in order. Between two of them `content` gives the bytes of the one before.

    Raises `BadTarError` for headers that are none, and where the archive's end is not marked as every tar has it.
    """

    def __init__(self, stream: BinaryIO, seekable: bool = False) -> None:
        self._stream, self._seekable = stream, seekable
        self._position = 0
        self._left = 0

    def __iter__(self) -> Iterator[Entry]:
        longer: dict[str, str] = {}  # what extended headers say of the next member
        while (header := self._exactly(_BLOCK)) != _ZEROS:
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                raise BadTarError(f"damaged at byte {self._position - _BLOCK}: {error}") from None
            if info.type == tarfile.GNUTYPE_LONGNAME:
                longer["path"] = self._extended(info.size).split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif info.type == tarfile.XHDTYPE:
                longer |= _records(self._extended(info.size))
            elif info.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                self._extended(info.size)
            elif info.type == tarfile.GNUTYPE_SPARSE or any("sparse" in key for key in longer):
                raise BadTarError(f"{info.name} is stored as a sparse file, which is not read here")
            else:
                self._left = int(longer.get("size", info.size)) if info.type in _FILES else 0
                padding = -self._left % _BLOCK
                if info.type in _FILES:
                    yield Entry(longer.get("path", info.name), self._position, self._left)
                self._skip(self._left)
                self._left, longer = 0, {}
                self._skip(padding)
        self._only_zeros()

    def content(self) -> Iterator[bytes]:
        """The bytes of the entry that was given last."""
        while self._left:
            data = self._stream.read(min(self._left, _READ_BYTES))
            if not data:
                raise BadTarError(f"it ends at byte {self._position}, inside a file")
            self._left -= len(data)
            self._position += len(data)
            yield data

    def _extended(self, size: int) -> bytes:
        if size > _MOST_HEADER_BYTES:
            raise BadTarError(f"damaged at byte {self._position}: a header of {size} bytes")
        data = self._exactly(size)
        self._skip(-size % _BLOCK)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        if len(data) < size:
            raise BadTarError(
                f"it ends at byte {self._position + len(data)}, without the mark of a tar's end"
            )
        self._position += size
        return data

    def _skip(self, size: int) -> None:
        if self._seekable:
            self._position = self._stream.seek(size, 1)
            return
        while size:
            size -= len(self._exactly(min(size, _READ_BYTES)))

    def _only_zeros(self) -> None:
        while data := self._stream.read(_READ_BYTES):
            if data.strip(b"\0"):
                raise BadTarError("bytes follow its end; are two archives in one file?")
            self._position += len(data)


def _records(data: bytes) -> dict[str, str]:
    """The records of a pax header: a length, a space, `key=value`, a new line."""
    found = {}
    while data.strip(b"\0"):
        digits = data.partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, separator, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not separator:
            raise BadTarError("damaged: an extended header is none")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return found

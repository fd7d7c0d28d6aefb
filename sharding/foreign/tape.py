"""A stream that is read once, from its beginning to its end, and can be looked at a little way back."""

import hashlib
import io
from typing import BinaryIO

_PIECE = 1 << 20


class Tape(io.RawIOBase):
    """What `tarfile` reads through: it hashes every byte, and holds those that are not yet forgotten.

    Reading jumps ahead of what was read before at will; what lies between is read and held too.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream, self._sha256 = stream, hashlib.sha256()
        self._held, self._base, self._position = bytearray(), 0, 0
        self._ended = False

    @property
    def end(self) -> int:
        """The byte up to which was read."""
        return self._base + len(self._held)

    @property
    def sha256(self) -> str:
        """Over all that was read."""
        return self._sha256.hexdigest()

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Go to a byte that is not forgotten; by its number alone."""
        self._position = position
        return position

    def read(self, size: int = -1, /) -> bytes:
        data = self.content(self._position, self._position + size)
        self._position += len(data)
        return data

    def content(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`; fewer where the stream ends."""
        self._read_to(end)
        with memoryview(self._held) as held:
            return bytes(held[start - self._base : max(start, end) - self._base])

    def forget(self, before: int) -> None:
        """Hold nothing that lies before this byte."""
        count = min(before, self.end) - self._base
        del self._held[:count]
        self._base += count

    def rest(self) -> bool:
        """Read to the end, holding nothing. Returns whether there is anything but zeros from where it is."""
        start, found = self._position, False
        while not self._ended:
            self.forget(start)
            found = found or bool(self._held.strip(b"\0"))
            start = self.end
            self._read_to(start + 1)
        self.forget(start)
        return found or bool(self._held.strip(b"\0"))

    def _read_to(self, end: int) -> None:
        while self.end < end and not self._ended:
            piece = self._stream.read(max(_PIECE, min(end - self.end, 16 * _PIECE)))
            self._ended = not piece
            self._sha256.update(piece)
            self._held += piece

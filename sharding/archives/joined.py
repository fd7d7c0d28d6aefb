"""The parts of one archive as one stream, inflated where the archive is, that knows which part it is in."""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from isal import igzip

from sharding.archives import spans
from sharding.archives.parts import Part

GZIP = b"\x1f\x8b"
_READ_BYTES = 1 << 20
_INFLATED_BYTES = 4 << 20  # asked of the inflater at once


class Joined(io.RawIOBase):
    """The bytes of `parts`, one after another. `at` is the part that is being read; `ended`, that all were read.

    `on_bytes` hears how many bytes were read.
    """

    def __init__(self, parts: list[Part], on_bytes: Callable[[int], object]) -> None:
        super().__init__()
        self.at, self.ended = parts[0], False
        self._on_bytes = on_bytes
        self._chunks = self._all(parts)
        self._chunk = memoryview(b"")

    def _all(self, parts: list[Part]) -> Iterator[bytes]:
        for part in parts:
            self.at = part
            for chunk in spans.chunks(part.span, str(part)):
                self._on_bytes(len(chunk))
                yield chunk
        self.ended = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._chunk:
            found = next(self._chunks, None)
            if found is None:
                return 0
            self._chunk = memoryview(found)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._chunk))
        view[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count


def opened(joined: Joined) -> BinaryIO:
    """What is in `joined`: the bytes themselves, or what they inflate to."""
    stream = io.BufferedReader(joined, _READ_BYTES)
    if not stream.peek(2).startswith(GZIP):
        return cast(BinaryIO, stream)
    inflated = igzip.IGzipFile(fileobj=stream, mode="rb")  # type: ignore[no-untyped-call]
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, inflated), _INFLATED_BYTES))

"""A video's JPEGs on their way to the shard: in memory, or in a temporary file where they are many."""

import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO

# So that memory does not grow with the length of a video.
IN_MEMORY_BYTES = 32 << 20


class Spool:
    """JPEGs in order. A context: the temporary file goes with it."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.bytes = 0
        self._chunks: list[bytes] = []  # of those since the last visit to the file
        self._file: IO[bytes] | None = None
        self._filed = 0

    def append(self, jpeg: bytes) -> None:
        """Add one JPEG."""
        self.offsets.append(self.bytes)
        self._chunks.append(jpeg)
        self.bytes += len(jpeg)
        if self.bytes - self._filed > IN_MEMORY_BYTES:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
            self._file.seek(self._filed)
            self._file.writelines(self._chunks)
            self._filed = self.bytes
            self._chunks = []

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pick(range(len(self.offsets)))

    def pick(self, which: Sequence[int]) -> Iterator[bytes]:
        """The JPEGs of these numbers."""
        in_file = len(self.offsets) - len(self._chunks)
        ends = [*self.offsets[1:], self.bytes]
        for i in which:
            if i >= in_file:
                yield self._chunks[i - in_file]
            else:
                assert self._file is not None
                self._file.seek(self.offsets[i])
                yield self._file.read(ends[i] - self.offsets[i])

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

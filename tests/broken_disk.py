"""Files on a disk that fails in the middle of them."""

import errno
import io
import os
from typing import Any


class BrokenFile(io.FileIO):
    """A file of which the bytes behind the first `readable_bytes` cannot be read."""

    def __init__(self, path: str | os.PathLike[str], readable_bytes: int) -> None:
        super().__init__(path)
        self._readable_bytes = readable_bytes

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._readable_bytes - self.tell()
        if left <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(buffer)[:left])

    def readall(self) -> bytes:
        if os.fstat(self.fileno()).st_size > self._readable_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readall()

"""Local files: written beside their place under a temporary name, then moved onto it."""

import contextlib
import errno
import fcntl
import os
import secrets
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

from sharding.storage.store import Location

ERRORS: tuple[type[Exception], ...] = (OSError,)
_SUFFIX = ".unfinished"


def explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        advice = {
            errno.ENOSPC: "; free some space, or write to another disk",
            errno.EACCES: "; check the permissions",
        }
        return error.strerror + advice.get(error.errno or 0, "")
    return str(error)


def size(at: Location) -> int | None:
    path = Path(at.key)
    return path.stat().st_size if path.is_file() else None


def names(at: Location) -> Iterator[str]:
    try:
        with os.scandir(at.key) as entries:
            for entry in entries:
                if entry.is_file() and not entry.name.endswith(_SUFFIX):
                    yield entry.name
    except FileNotFoundError:  # like a prefix that no object has
        return


def folders(at: Location) -> Iterator[str]:
    try:
        with os.scandir(at.key) as entries:
            yield from (entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return


def remove(at: Location) -> None:
    Path(at.key).unlink(missing_ok=True)


def open_read(at: Location, offset: int, end: int | None) -> "LocalSource":
    return LocalSource(Path(at.key), offset, end)


class LocalSource:
    """An open file from a byte on, up to byte `end`."""

    def __init__(self, path: Path, offset: int, end: int | None) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(offset)
        self.size = os.fstat(self._file.fileno()).st_size
        self._left = sys.maxsize if end is None else max(0, end - offset)

    def readinto(self, view: memoryview, /) -> int:
        count = self._file.readinto(view[: self._left]) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()


def put(at: Location, data: bytes) -> None:
    writer = LocalWriter(Path(at.key))
    try:
        writer.write(data)
        writer.commit()
    except BaseException:
        writer.abandon()
        raise


def writer(at: Location) -> "LocalWriter":
    return LocalWriter(Path(at.key))


class LocalWriter:
    """A temporary file beside `path`, locked while it is written, so that a later writer can tell a killed
    writer's leftover (nobody locks it: it is removed) from a file that is still being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")
        # From before it is there: a signal's exception may come before whoever is to abandon it knows of it.
        self._removal = weakref.finalize(self, _remove, self._temporary)
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        self._stream = open(_create(self._temporary), "wb", buffering=1 << 20)  # noqa: SIM115 - closed below

    def write(self, data: bytes, /) -> int:
        return self._stream.write(data)

    def commit(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._temporary.replace(self._path)  # before the file is closed: it stays locked under the old name
        self._removal.detach()
        self._stream.close()
        _sync_folder(self._path.parent)

    def abandon(self) -> None:
        self._removal()
        # On a full disk the first close fails on what is still buffered, yet it closes the descriptor.
        with contextlib.suppress(OSError):
            self._stream.close()


def _create(temporary: Path) -> int:
    """The locked descriptor of a new file."""
    while True:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        _lock(descriptor)
        if os.fstat(descriptor).st_nlink:  # else it was swept before it was locked
            return descriptor
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()


def _sweep(path: Path) -> None:
    """Remove what killed writers of `path` left: their locks went with them."""
    start = f".{path.name}."
    with os.scandir(path.parent) as entries:
        leftovers = [e.path for e in entries if e.name.startswith(start) and e.name.endswith(_SUFFIX)]
    for leftover in leftovers:
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_WRONLY | os.O_CLOEXEC)
            try:
                if _lock(descriptor):
                    Path(leftover).unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether this process holds the lock now; never where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

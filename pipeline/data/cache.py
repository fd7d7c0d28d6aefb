"""Shards kept on local disk under a budget of bytes, for all processes of a node: no server, only locks on files.

A kept file is complete or absent. It is written under a temporary name, as large as it will be from the start (so
that what is on its way counts in the budget) and locked while it is written; a temporary file that nobody locks is
a killed process's, and is removed. Names are made from the URL and the SHA-256 in the manifest, so that another
shard never answers. What was used longest ago makes room; a process that has it open reads on.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

from isal import isal_zlib

from pipeline.data.shards import StoredShards
from sharding import storage
from sharding.errors import UserError
from sharding.format.rows import SampleRow
from sharding.format.shard import read_span

_LOCK = "lock"
_KEPT = re.compile(r"[0-9a-f]{64}\.kept")
_FILLING = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{12}\.filling")  # nothing else in the folder is ever touched
_PIECE = 1 << 20
_DIGEST = hashlib.sha256().digest_size


class ShardCache:
    """Files in `folder`, of at most `budget` bytes together, by name; each process of the node has its own object.

    A cache that cannot be written or read (a full or failing disk, no rights) says so once and keeps nothing more;
    reading goes on.
    """

    def __init__(self, folder: str, budget: int) -> None:
        self._folder, self._budget = Path(folder), budget
        self._broken = False

    def open(self, name: str) -> BinaryIO | None:
        """A kept file, which counts as used now; None where it is not kept."""
        try:
            file = self._kept(name).open("rb")
        except OSError:
            return None
        with contextlib.suppress(OSError):  # another user's
            _use(file)
        return file

    def read(self, file: BinaryIO, size: int = -1) -> bytes:
        """Bytes of a kept file; none where the disk fails, and nothing more is kept then."""
        try:
            return read_span(file, size)
        except OSError as error:
            self.give_up(error)
            return b""

    def drop(self, name: str) -> None:
        """Keep a file no longer."""
        with contextlib.suppress(OSError):
            self._kept(name).unlink()

    def fill(self, name: str, size: int) -> "Fill | None":
        """Begin to keep a file of `size` bytes; None where it is kept or on its way already, or does not fit."""
        if self._broken or size > self._budget:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self.locked():
                if self._kept(name).exists() or self._is_coming(name) or not self.make_room(size):
                    return None
                temporary = self._folder / f"{name}.{secrets.token_hex(6)}.filling"
                file = temporary.open("xb", buffering=0)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(size)
            return Fill(self, temporary, self._kept(name), cast(BinaryIO, file))
        except OSError as error:
            self.give_up(error)
            return None

    def give_up(self, error: OSError) -> None:
        """Keep nothing more, in this process, because of `error`."""
        if not self._broken:
            cause = error.strerror or str(error)
            text = f"warning: data.cache {self._folder}: {cause}; shards are streamed without being kept"
            print(text, file=sys.stderr, flush=True)
        self._broken = True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone, of all processes of the node, in changing which files there are."""
        with (self._folder / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _kept(self, name: str) -> Path:
        return self._folder / f"{name}.kept"

    def _is_coming(self, name: str) -> bool:
        """Whether somebody fetches a file just now."""
        filling = (path for path in self._folder.glob(f"{name}.*") if _FILLING.fullmatch(path.name))
        return any(map(_reserved, filling))

    def make_room(self, size: int) -> bool:
        """Remove what was used longest ago until `size` more bytes fit; False where they cannot. Under the lock."""
        kept, reserved = [], 0
        for path in self._folder.iterdir():
            if _FILLING.fullmatch(path.name) and (on_its_way := _reserved(path)):
                reserved += on_its_way
            elif _KEPT.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # dropped just now
                    stat = path.stat()
                    kept.append((stat.st_mtime_ns, stat.st_size, path))
        if reserved + size > self._budget:
            return False
        used = reserved + sum(bytes_ for _, bytes_, _ in kept)
        for _, bytes_, path in sorted(kept):
            if used + size <= self._budget:
                break
            path.unlink(missing_ok=True)
            used -= bytes_
        return True


class Fill:
    """A file on its way into a cache. An error of the disk ends it, and is not the writer's concern."""

    def __init__(self, cache: ShardCache, temporary: Path, kept: Path, file: BinaryIO) -> None:
        self._cache, self._temporary, self._kept, self._file = cache, temporary, kept, file
        self.size, self.written = os.fstat(file.fileno()).st_size, 0

    @property
    def is_open(self) -> bool:
        """Whether it is still to be kept."""
        return not self._file.closed

    def write(self, data: bytes) -> None:
        """The next bytes."""
        if self._file.closed:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._cache.give_up(error)
            self.abandon()
        self.written += len(data)

    def resize(self, size: int) -> bool:
        """Take room for `size` bytes in all, or give some back. False where there is none, or nothing is kept."""
        if self._file.closed:
            return False
        try:
            with self._cache.locked():
                if size > self.size and not self._cache.make_room(size - self.size):
                    return False
                self._file.truncate(size)
        except OSError as error:
            self._cache.give_up(error)
            self.abandon()
            return False
        self.size = size
        return True

    def commit(self) -> None:
        """Keep the file, if all of it was written."""
        if self._file.closed:
            return
        if self.written == self.size:
            # No sync: after a power cut a file of zeros may be there, which the samples' CRC-32 tell.
            with contextlib.suppress(OSError), self._cache.locked():
                _use(self._file)
                self._temporary.rename(self._kept)
        self.abandon()

    def abandon(self) -> None:
        """Keep nothing."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()


def _use(file: BinaryIO) -> None:
    """Note that a file is used now. By this clock: the file system's own goes on in steps of milliseconds."""
    now = time.time_ns()
    os.utime(file.fileno(), ns=(now, now))


def _reserved(path: Path) -> int:
    """The bytes that a temporary file takes; 0, and it is gone, where its process is: the lock went with it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return 0
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size
        return 0
    except FileNotFoundError:  # given up just now
        return 0


@dataclass(frozen=True)
class CachedShards:
    """The shards of a split, from a cache as far as they are there; see `pipeline.data.shards.Shards`.

    A shard that is read from its first sample on is kept on the way, in the same read of the store. One that is begun
    in the middle, or that another process is just fetching, is streamed. Sidecars are kept too.
    """

    reads_to_the_end: ClassVar[bool] = True

    stored: StoredShards
    cache: ShardCache

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in a shard, from its sidecar, which is kept behind its own SHA-256."""
        split = self.stored.manifest
        name = self.name(split.sidecar_url(shard), shard)
        if file := self.cache.open(name):
            with file:
                content = self.cache.read(file)
            digest, data = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(data).digest() == digest:
                return split.parse_sidecar(shard, data).samples
            self.cache.drop(name)
        data = storage.read_bytes(split.sidecar_url(shard))
        rows = split.parse_sidecar(shard, data).samples
        if fill := self.cache.fill(name, _DIGEST + len(data)):
            fill.write(hashlib.sha256(data).digest() + data)
            fill.commit()
        return rows

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The bytes of these rows."""
        split = self.stored.manifest
        name = self.name(split.shard_url(shard), shard)
        if file := self.cache.open(name):
            file.seek(rows[0].offset)

            def stored(number: int) -> BinaryIO:
                return self.stored.open(shard, rows[number:])

            return cast(BinaryIO, Kept(self.cache, name, file, rows, stored))
        size = split.shards[shard].bytes
        if rows[0].offset == 0 and (fill := self.cache.fill(name, size)):
            try:
                whole = storage.open_read(split.shard_url(shard), 0, size)
            except BaseException:
                fill.abandon()
                raise
            return cast(BinaryIO, _Filling(rows, whole, fill))
        return self.stored.open(shard, rows)

    def name(self, url: str, shard: int, made: str = "") -> str:
        """What the file of a shard that lies at `url` is called here; with `made`, what that way makes of it."""
        full = url if "://" in url else str(Path(url).absolute())
        text = f"{full}\n{self.stored.manifest.shards[shard].sha256}{made}"
        return hashlib.sha256(text.encode()).hexdigest()


class Kept(io.RawIOBase):
    """`rows` of a kept `file`, which stands at the first, read one after another.

    From one that is damaged, or that the disk does not give, on they come from elsewhere: `instead` opens what gives
    those from a number on. `made`: what becomes of each row's bytes in the file.
    """

    def __init__(
        self,
        cache: ShardCache,
        name: str,
        file: BinaryIO,
        rows: list[SampleRow],
        instead: Callable[[int], BinaryIO],
        made: Callable[[bytes, SampleRow], bytes] = lambda data, row: data,
    ) -> None:
        super().__init__()
        self._cache, self._name, self._stream, self._rows = cache, name, file, rows
        self._instead, self._made = instead, made
        self._trusted, self._read = False, 0

    def read(self, size: int = -1, /) -> bytes:
        if not self._trusted:
            row = self._rows[self._read]
            data = self._cache.read(self._stream, row.bytes)
            if isal_zlib.crc32(data) == row.crc32:
                self._read += 1
                return self._made(data, row)
            self._cache.drop(self._name)
            self._stream.close()
            self._stream = self._instead(self._read)
            self._trusted = True
        return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Filling(io.RawIOBase):
    """Rows from the start of a shard, read one after another; behind the last one the rest is fetched, and kept."""

    def __init__(self, rows: list[SampleRow], whole: BinaryIO, fill: Fill) -> None:
        super().__init__()
        self._left, self._whole, self._fill = len(rows), whole, fill

    def read(self, size: int = -1, /) -> bytes:
        data = read_span(self._whole, size)
        self._fill.write(data)
        self._left -= 1
        if not self._left:
            with contextlib.suppress(UserError):  # the rest is not this reader's
                while piece := self._whole.read(_PIECE):
                    self._fill.write(piece)
            self._fill.commit()
        return data

    def close(self) -> None:
        self._fill.abandon()  # unless it is kept by now
        self._whole.close()
        super().close()

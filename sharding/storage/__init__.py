"""Every byte in and out: local paths and objects in buckets (s3://, gs://, azure://), by the same calls.

What lies on web servers (https://) can be read, and nothing else.

What is written is there in whole or not at all. Requests to a bucket have time-outs and are tried again for two
minutes (`sharding.storage.patience`); a store that stays away is an `UnreachableError`, and what no waiting mends is a
`UserError` at once, both with the URL and the cause, and never with a password. Clients are made on first use, once
per process, with the credentials of each cloud's own environment; without any, requests go out unsigned, as a public
bucket allows.
This room may import no other.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

from sharding.errors import UnreachableError, UserError
from sharding.storage import local, patience
from sharding.storage.answers import without_secrets
from sharding.storage.patience import Exhausted
from sharding.storage.store import Location, Replaced, Source, Store, Writer

Url = str | os.PathLike[str]
_READ_BYTES = 256 << 10  # asked of a store at once, at least


def join(root: Url, *parts: str) -> str:
    """`root` and the parts with one slash between: `join("s3://bucket/set", "train", "manifest.json")`."""
    base = os.fspath(root)
    rest = [part.strip("/") for part in parts]
    return "/".join([base.rstrip("/"), *rest]) if rest else base


def give_up_after(seconds: float) -> None:
    """From now on this process waits so long for a store that is away, in place of two minutes."""
    patience.TOTAL_S = seconds


def exists(url: Url) -> bool:
    """Whether there is a file or object of this name; a folder is neither."""
    store, at = _locate(url)
    with _told(store, at, "look it up"):
        return store.size(at) is not None


def size(url: Url) -> int:
    """Its size in bytes."""
    store, at = _locate(url)
    with _told(store, at, "look it up"):
        found = store.size(at)
    if found is None:
        raise _missing(at)
    return found


def remove(url: Url) -> None:
    """Remove a file or object; a missing one is fine."""
    store, at = _locate(url)
    with _told(store, at, "remove it"):
        store.remove(at)


def list_names(url: Url) -> list[str]:
    """Sorted names of the files directly below a folder or prefix; none where it does not exist."""
    store, at = _locate(url)
    with _told(store, at, "list it"):
        return sorted(store.names(at))


def list_folders(url: Url) -> list[str]:
    """Sorted names of the folders directly below a folder or prefix; none where it does not exist."""
    store, at = _locate(url)
    with _told(store, at, "list it"):
        return sorted(store.folders(at))


def read_bytes(url: Url) -> bytes:
    """The whole content."""
    with open_read(url) as stream:
        return stream.read()


def open_read(url: Url, offset: int = 0, end: int | None = None) -> BinaryIO:
    """A stream of its bytes from `offset` up to `end` (None: its last), to be read in order and closed by the caller.

    Where the object is shorter, so is the stream. On a bucket this is one ranged request for no more than these bytes;
    where the connection breaks, reading goes on at that byte, and an object that was replaced meanwhile is an error.
    """
    store, at = _locate(url)
    with _told(store, at, "read it"):
        source = store.open_read(at, offset, end)
    return cast(BinaryIO, io.BufferedReader(_Input(store, at, source, offset), _READ_BYTES))


def write_bytes(url: Url, data: bytes) -> None:
    """Publish `data` under `url`: the whole of it or nothing."""
    store, at = _locate(url)
    with _told(store, at, "write it"):
        store.put(at, data)


@contextlib.contextmanager
def publish(url: Url) -> Iterator[BinaryIO]:
    """A stream to write to; what was written appears under `url` when the block ends without an error.

    Locally it is a temporary file beside its place, synced and renamed; folders are made as needed. In a
    bucket it is an upload in parts, of which one (`patience.PART_BYTES`) is held in memory.
    """
    store, at = _locate(url)
    with _told(store, at, "write it"):
        writer = store.writer(at)
    try:
        yield cast(BinaryIO, _Output(store, at, writer))
        with _told(store, at, "write it"):
            writer.commit()
    except BaseException:
        with contextlib.suppress(*store.ERRORS):  # the first error is the one to tell
            writer.abandon()
        raise


class _Input(io.RawIOBase):
    """What `open_read` reads through: knows its position, and explains what fails."""

    def __init__(self, store: Store, at: Location, source: Source, offset: int) -> None:
        super().__init__()
        self._store, self._at, self._source = store, at, source
        self._position = offset

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        with _told(self._store, self._at, f"read on at byte {self._position} of {self._source.size}"):
            count = self._source.readinto(memoryview(buffer).cast("B"))
        self._position += count
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


class _Output(io.RawIOBase):
    """What `publish` hands out: writes in order, tells its position, and explains what fails."""

    def __init__(self, store: Store, at: Location, writer: Writer) -> None:
        super().__init__()
        self._store, self._at, self._writer = store, at, writer
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any, /) -> int:
        content = data if isinstance(data, bytes) else memoryview(data).cast("B")
        with _told(self._store, self._at, f"write at byte {self._position}"):
            self._writer.write(cast(bytes, content))
        self._position += len(content)
        return len(content)


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<bucket>[^/]*)/*(?P<key>.*)", re.DOTALL)


def module_of(url: Url) -> str:
    """The name of the module that `url` is read with, for processes that are to have it from the start."""
    return cast(ModuleType, _locate(url)[0]).__name__


def _locate(url: Url) -> tuple[Store, Location]:
    text = os.fspath(url)
    match = _URL.fullmatch(text)
    if match is None:
        return local, Location(text, "", text)
    scheme, bucket, key = match.group("scheme").lower(), match.group("bucket"), match.group("key")
    if scheme == "file":
        return local, Location(text, "", f"/{key}")
    store = _cloud(scheme, text)
    if not bucket:
        raise UserError(f"{text}: the bucket's name is missing; write {scheme}://bucket/path")
    return store, Location(text, bucket, key)


def _cloud(scheme: str, url: str) -> Store:
    """The cloud's module, imported on first use: its client takes half a second, and may not be installed."""
    try:
        if scheme == "s3":
            from sharding.storage import s3

            return s3
        if scheme == "gs":
            from sharding.storage import gcs

            return gcs
        if scheme == "azure":
            from sharding.storage import azure

            return azure
        if scheme in ("https", "http"):
            from sharding.storage import web

            return web
    except ModuleNotFoundError as error:
        extra = {"s3": "s3", "gs": "gcs", "azure": "azure"}[scheme]
        raise UserError(
            f"{url}: {scheme}:// needs {error.name}, which is missing; pip install 'blvnet-pipeline[{extra}]'"
        ) from error
    raise UserError(
        f"{url}: unknown kind of store {scheme}://; use a local path, s3://, gs://, azure:// or https://"
    )


@contextlib.contextmanager
def _told(store: Store, at: Location, doing: str) -> Iterator[None]:
    """Turn the store's errors into one line that says what, where and why."""
    try:
        yield
    except FileNotFoundError as error:
        raise _missing(at) from error
    except Replaced as error:
        raise _failed(at, doing, "the object was replaced or removed while it was read") from error
    except Exhausted as error:
        cause = f"tried for {error.seconds:.0f} s, and at last: {store.explain(error.cause)}"
        raise _failed(at, doing, cause, UnreachableError) from _unless_secret(error.cause)
    except store.ERRORS as error:
        raise _failed(at, doing, store.explain(error)) from _unless_secret(error)


def _failed(at: Location, doing: str, cause: str, kind: type[UserError] = UserError) -> UserError:
    return kind(f"{at.url}: cannot {doing}: {without_secrets(' '.join(cause.split()))}")


def _unless_secret(error: Exception) -> Exception | None:
    """The error, for tracebacks to show; None where it would show a password."""
    return error if without_secrets(str(error)) == str(error) else None


def _missing(at: Location) -> UserError:
    parent = Path(at.key).parent
    if not at.bucket and not parent.is_dir():
        return UserError(f"{at.url}: no such file (nor the folder {parent})")
    return UserError(f"{at.url}: no such file")

"""What a store is: the few operations that local folders and every cloud offer under `sharding.storage`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Location:
    """A URL and its parts. A local path has no bucket, and its key is the path."""

    url: str
    bucket: str
    key: str


class Replaced(Exception):  # noqa: N818 - a fact about the object, not a failure of the request
    """The object is no longer of the version that reading began with."""


class Source(Protocol):
    """A part of an object, read in order."""

    size: int
    """Bytes of the whole object, as far as it was looked at."""

    def readinto(self, view: memoryview, /) -> int:
        """Bytes read; 0 at the end. Raises the store's errors, and `Replaced`."""

    def close(self) -> None: ...


class Writer(Protocol):
    """An object on its way: after `commit` it is there in whole, after `abandon` there is nothing of it."""

    def write(self, data: bytes, /) -> int: ...

    def commit(self) -> None: ...

    def abandon(self) -> None: ...


class Store(Protocol):
    """Implemented by the modules `local`, `s3`, `gcs`, `azure` and `web` (to read) of this room.

    Each request of the clouds' is made by `patience.insist`, whose `Exhausted` may come beside `ERRORS`.
    """

    @property
    def ERRORS(self) -> tuple[type[Exception], ...]:  # noqa: N802 - a constant of the module
        """What its functions raise when the store, the network or the credentials fail."""

    def explain(self, error: Exception) -> str:
        """The cause in the store's words."""

    def size(self, at: Location) -> int | None:
        """Bytes of the object; None where there is none."""

    def names(self, at: Location) -> Iterable[str]:
        """Names of the objects directly below the folder or prefix, in any order."""

    def folders(self, at: Location) -> Iterable[str]:
        """Names of the folders, or further parts of prefixes, directly below, in any order."""

    def remove(self, at: Location) -> None:
        """Remove the object; a missing one is fine."""

    def open_read(self, at: Location, offset: int, end: int | None) -> Source:
        """The object from a byte on, up to byte `end` where one is given. FileNotFoundError where there is none."""

    def put(self, at: Location, data: bytes) -> None:
        """Publish a small object in one request."""

    def writer(self, at: Location) -> Writer:
        """Begin an object."""

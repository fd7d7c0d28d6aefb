"""Reading any part of an object of a bucket, through broken connections, and always one version."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sharding.storage import patience
from sharding.storage.store import Replaced


class Body(Protocol):
    """The bytes of one answer, in order."""

    def read(self, amount: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Opened:
    """An answer: its body, the size of the whole object in bytes, and its version (ETag, generation)."""

    body: Body
    size: int
    version: str


Fetch = Callable[[int, int | None, str | None], Opened]
"""Opens the object at a byte, for no more than the bytes up to another (None: its end), in a version (None: whichever
is there), in one request. The body may end before that: it is then fetched on. Missing: FileNotFoundError.
Another version: `Replaced`. At or past the end: an empty body, and a size that is not greater."""


class EmptyAnswerError(ConnectionError):
    """An answer without a byte, where there are bytes."""


class RangedReader:
    """One object from `offset` to `end` (None: its own end). A body that breaks is opened again where it broke.

    Every answer is pinned to the version of the first one: a replaced object is `Replaced`, never a mix of two.
    Opening and each read are one request each to `patience.insist`, with `passes`: a byte that comes renews the time.
    """

    def __init__(
        self, fetch: Fetch, offset: int, end: int | None, passes: Callable[[Exception], bool]
    ) -> None:
        self._fetch, self._passes = fetch, passes
        self._position, self._end = offset, end
        opened = patience.insist(functools.partial(fetch, offset, end, None), passes)
        self.size, self._version = opened.size, opened.version
        self._stop = self.size if end is None else min(end, self.size)
        self._body: Body | None = opened.body

    def readinto(self, view: memoryview, /) -> int:
        left = view[: max(0, self._stop - self._position)]
        if not left:
            return 0
        data = patience.insist(functools.partial(self._some, len(left)), self._passes)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _some(self, amount: int) -> bytes:
        """At least one byte, of this body or, where it is at its end or broke, of the next one."""
        if self._body is not None:
            try:
                data = self._read(self._body, amount)
            except Exception as error:  # idle connections are closed every day: that costs no pause
                if not self._passes(error):
                    raise
                data = b""
            if data:
                return data
        try:
            self._body = self._fetch(self._position, self._end, self._version).body
        except FileNotFoundError as error:
            raise Replaced from error
        if data := self._read(self._body, amount):
            return data
        raise EmptyAnswerError("the answer was empty")

    def _read(self, body: Body, amount: int) -> bytes:
        """The body's next bytes; one that is at its end or breaks is closed."""
        data = b""
        try:
            data = body.read(amount)
        finally:
            if not data:
                self.close()
        return data

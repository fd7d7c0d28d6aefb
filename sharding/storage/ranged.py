"""Reading any part of an object of a bucket, through broken connections, and always one version."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sharding.errors import UserError
from sharding.storage import patience


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


class Replaced(Exception):  # noqa: N818 - a fact about the object, not a failure of the request
    """The object is no longer of the version that was asked for."""


Fetch = Callable[[int, int | None, str | None], Opened]
"""Opens the object at a byte, for no more than the bytes up to another (None: its end), in a version (None: whichever
is there), and does its own retrying. The body may end before that: it is then fetched on. Missing: FileNotFoundError.
Another version: `Replaced`. At or past the end: an empty body, and a size that is not greater."""


class RangedReader(io.RawIOBase):
    """One object from `offset` to `end` (None: its own end). A body that breaks is opened again where it broke.

    Every answer is pinned to the version of the first one: a replaced object is an error, never a mix of two.
    `errors` are what `fetch` and its bodies raise, `explain` puts one in words. A request that failed for
    good, or `patience.ATTEMPTS` broken bodies without a byte between, is a `UserError` with URL, byte, cause.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        offset: int,
        end: int | None,
        errors: tuple[type[Exception], ...],
        explain: Callable[[Exception], str],
    ) -> None:
        super().__init__()
        self._url, self._fetch, self._errors, self._explain = url, fetch, errors, explain
        self._position, self._end = offset, end
        opened = fetch(offset, end, None)
        self._size, self._version = opened.size, opened.version
        self._stop = self._size if end is None else min(end, self._size)
        self._body: Body | None = opened.body
        self._fresh = True  # no byte of this body was read yet

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        broken = 0
        while self._position < self._stop:
            body = self._body or self._reopen()
            cause = "the answer was empty"
            try:
                data = body.read(min(len(view), self._stop - self._position))
            except self._errors as error:
                data, cause, self._fresh = b"", self._explain(error), True
            if data:
                view[: len(data)] = data
                self._position += len(data)
                self._fresh = False
                return len(data)
            self._drop()
            if self._fresh:
                broken += 1
                if broken >= patience.ATTEMPTS:
                    raise self._failed(f"the connection broke {broken} times in a row: {cause}")
                time.sleep(patience.delay(broken))
        return 0

    def close(self) -> None:
        self._drop()
        super().close()

    def _reopen(self) -> Body:
        try:
            self._body = self._fetch(self._position, self._end, self._version).body
            self._fresh = True
        except (Replaced, FileNotFoundError) as error:
            raise self._failed("the object was replaced or removed while it was read") from error
        except self._errors as error:
            raise self._failed(self._explain(error)) from error
        return self._body

    def _failed(self, cause: str) -> UserError:
        where = f"at byte {self._position} of {self._size}"
        return UserError(f"{self._url}: cannot read on {where}: {' '.join(cause.split())}")

    def _drop(self) -> None:
        body = getattr(self, "_body", None)  # absent where the first request failed
        self._body = None
        if body is not None:
            body.close()

"""A file of JSON lines that grows while a run goes on, in a folder or a bucket, and survives a kill."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.run.owner import LostFolderError
from pipeline.run.uploads import Uploads
from sharding import storage
from sharding.errors import UserError

Line = dict[str, Any]
PUBLISH_S = 60.0


class Journal:
    """The JSON lines at `url`, each with a `step`.

    A resumed run goes on behind its checkpoint: lines after `resumed_step`, of the run that was cut off, are
    removed. A local file grows line by line; a bucket cannot append, so there the object is replaced, at most
    every `PUBLISH_S` seconds and at the end: by `uploads`, or in the call where there are none. `guard` is called
    before each write, and may raise.
    """

    def __init__(
        self,
        url: str,
        resumed_step: int,
        guard: Callable[[], None] = lambda: None,
        uploads: Uploads | None = None,
    ) -> None:
        self._url, self._guard, self._uploads = url, guard, uploads
        self._local = "://" not in url
        self._published = 0.0
        self._lines = [line for line in read(url) if line["step"] <= resumed_step]
        self._write_all(self._content())

    def write(self, line: Line) -> None:
        """Add one line. A store that is away does not matter before the next `flush`."""
        self._lines.append(line)
        if self._local:
            self._append(line)
        elif time.monotonic() - self._published > PUBLISH_S:
            try:
                self.flush()
            except LostFolderError:
                raise
            except UserError:
                self._published = time.monotonic()

    def flush(self) -> None:
        """Nothing is held back after this; what `uploads` take over comes before all that they are given later."""
        if self._local:
            return
        content = self._content()
        if self._uploads is None:
            self._guard()
            self._write_all(content)
        else:
            self._uploads.submit(self._url, partial(self._write_all, content))
            self._published = time.monotonic()

    def _append(self, line: Line) -> None:
        self._guard()
        try:
            with Path(self._url).open("ab") as file:
                file.write(_encoded(line))
        except OSError as error:
            raise UserError(f"{self._url}: cannot be written: {error.strerror}") from error

    def _content(self) -> bytes:
        return b"".join(_encoded(line) for line in self._lines)

    def _write_all(self, content: bytes) -> None:
        storage.write_bytes(self._url, content)
        self._published = time.monotonic()


def read(url: str) -> list[Line]:
    """The lines at `url`; half a line at the end, left by a kill, does not count. No file: no lines."""
    if not storage.exists(url):
        return []
    *lines, _ = storage.read_bytes(url).split(b"\n")
    return [json.loads(line) for line in lines]


def _encoded(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"

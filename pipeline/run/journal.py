"""A file of JSON lines that grows while a run goes on, in a folder or a bucket, and survives a kill."""

import json
import time
from pathlib import Path
from typing import Any

from sharding import storage

Line = dict[str, Any]
PUBLISH_S = 60.0


class Journal:
    """The JSON lines at `url`, each with a `step`.

    A resumed run goes on behind its checkpoint: lines after `resumed_step`, of the run that was cut off, are
    removed. A local file grows line by line; a bucket cannot append, so there the object is replaced, at most
    every `PUBLISH_S` seconds and at the end.
    """

    def __init__(self, url: str, resumed_step: int) -> None:
        self._url = url
        self._local = "://" not in url
        self._lines = [line for line in read(url) if line["step"] <= resumed_step]
        self._publish()

    def write(self, line: Line) -> None:
        """Add one line."""
        self._lines.append(line)
        if self._local:
            with Path(self._url).open("ab") as file:
                file.write(_encoded(line))
        elif time.monotonic() - self._published > PUBLISH_S:
            self._publish()

    def flush(self) -> None:
        """Nothing is held back after this."""
        if not self._local:
            self._publish()

    def _publish(self) -> None:
        storage.write_bytes(self._url, b"".join(_encoded(line) for line in self._lines))
        self._published = time.monotonic()


def read(url: str) -> list[Line]:
    """The lines at `url`; half a line at the end, left by a kill, does not count. No file: no lines."""
    if not storage.exists(url):
        return []
    *lines, _ = storage.read_bytes(url).split(b"\n")
    return [json.loads(line) for line in lines]


def _encoded(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"

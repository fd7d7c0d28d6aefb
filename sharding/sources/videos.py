"""Labelled videos as every kind of annotations gives them: one list a split, its keys checked."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.errors import UserError
from sharding.format.keys import key_fault


@dataclass(frozen=True)
class Video:
    """One labelled video.

    `key` names the sample; `path` is relative to the video folder (a file, or a folder of JPEGs); `label` is the
    class index, None where the split has no labels; `start` and `end` cut out a part, in seconds; `about` is
    what else the annotations say, copied into the sample.
    """

    key: str
    path: str
    label: int | None
    start: float | None = None
    end: float | None = None
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotations:
    """The videos of one split, in the order of the file, and the class names by index."""

    dataset: str
    split: str
    classes: list[str]
    videos: list[Video]


def check_keys(videos: Iterable[Video], file: Path) -> None:
    """Raise `UserError` for the first key that is unfit or appears twice."""
    seen: set[str] = set()
    for video in videos:
        fault = key_fault(video.key)
        if fault is not None:
            raise UserError(
                f"{file}: id {video.key!r} {fault}; ids become names inside the shards, rename it"
            )
        if video.key in seen:
            raise UserError(f"{file}: id {video.key!r} appears twice; remove one of the two")
        seen.add(video.key)
    if not seen:
        raise UserError(f"{file}: no videos in it; give a list with at least one")


def fingerprint(videos: Iterable[Video]) -> str:
    """SHA-256 over everything that the annotations say of these videos, in order."""
    digest = hashlib.sha256()
    for v in videos:
        row = [v.key, v.path, v.label, v.start, v.end, v.about]
        digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def read_text(file: Path) -> str:
    """The whole of a UTF-8 file (with or without a byte order mark)."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give the folder or file of the annotations") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None

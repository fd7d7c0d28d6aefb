"""Labelled videos as every kind of annotations gives them: one list a split, its keys checked."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sharding.errors import UserError
from sharding.format.keys import key_fault

_NOTHING: dict[str, Any] = {}  # shared: there may be a million videos


class Video(NamedTuple):
    """One labelled video.

    `key` names the sample; `path` is relative to the video folder (a file, or a folder of JPEGs); `label` is the
    class index, or a video's several ones in ascending order, None where the split has no labels; `start` and `end` cut
    out a part, in seconds; `about` is what else the annotations say, copied into the sample.
    """

    key: str
    path: str
    label: int | tuple[int, ...] | None
    start: float | None = None
    end: float | None = None
    about: dict[str, Any] = _NOTHING


@dataclass(frozen=True)
class Annotations:
    """The videos of one split, in the order of the file, and the class names by index.

    `share` is that of the validation videos, where the split was not made by the annotations; `left_out` is how many
    videos of classes that were not wanted are not among these; `several` whether each has a list of labels.
    """

    dataset: str
    split: str
    classes: list[str]
    videos: Sequence[Video]
    share: float | None = None
    left_out: int = 0
    several: bool = False

    def identity(self, ordered: Iterable[Video]) -> str:
        """What changes with anything that the annotations say of the videos, in the order given."""
        same = fingerprint(ordered)
        return same if self.share is None else f"{same}, validation share {self.share:g}"


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
            raise UserError(
                f"{file}: id {video.key!r} appears twice; each sample needs an id of its own, remove one of the two"
            )
        seen.add(video.key)
    if not seen:
        raise UserError(f"{file}: no videos in it; give a list with at least one")


def fingerprint(videos: Iterable[Video]) -> str:
    """SHA-256 over everything that the annotations say of these videos, in order."""
    digest = hashlib.sha256()
    plain = re.compile(r"[0-9A-Za-z_./ -]*").fullmatch
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
    for v in videos:
        if v.about or v.start is not None or v.end is not None or not (plain(v.key) and plain(v.path)):
            row = [v.key, v.path, v.label, v.start, v.end, v.about]
            digest.update(f"{encode(row)}\n".encode())
        else:  # the same text, without the work of JSON: most videos are so
            label = v.label if isinstance(v.label, int) else encode(v.label)
            digest.update(f'["{v.key}","{v.path}",{label},null,null,{{}}]\n'.encode())
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


def split_lines(text: str) -> list[str]:
    """The lines of a list file: only \\n, \\r\\n and \\r end one, and no other character that Unicode has for it."""
    return re.split(r"\r\n|\n|\r", text)


def read_lines(file: Path) -> list[str]:
    """The lines of a UTF-8 file that are not empty, without the space around them."""
    return [line.strip() for line in split_lines(read_text(file)) if line.strip()]

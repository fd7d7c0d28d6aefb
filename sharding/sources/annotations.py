"""Annotations of labelled videos: Something-Something v1 (CSV) and v2 (JSON), or any CSV, as one list of videos.

Whatever is wrong in a file raises `UserError` with the file and the key at fault; nothing is skipped silently.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.errors import UserError

SPLITS = ("train", "validation", "test")
DATASETS = ("sthv1", "sthv2", "csv")

V1_FILES: dict[str, tuple[str, ...]] = {
    "labels": ("something-something-v1-labels.csv",),
    "train": ("something-something-v1-train.csv",),
    "validation": ("something-something-v1-validation.csv",),
    "test": ("something-something-v1-test.csv",),
}
# The names of the first release, then those of the newer one.
V2_FILES: dict[str, tuple[str, ...]] = {
    "labels": ("something-something-v2-labels.json", "labels.json"),
    "train": ("something-something-v2-train.json", "train.json"),
    "validation": ("something-something-v2-validation.json", "validation.json"),
    "test": ("something-something-v2-test.json", "test.json"),
}

# A ustar header holds 100 bytes of name, and the longer member is called `<key>.mjpeg`.
MAX_KEY_BYTES = 100 - len(".mjpeg")


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


def splits(dataset: str, source: Path) -> list[str]:
    """The splits of `source`: those that a CSV names; for Something-Something all, but test only where it is there."""
    if dataset == "csv":
        from sharding.sources import listing

        return listing.splits(source)
    files = V1_FILES if dataset == "sthv1" else V2_FILES
    return [s for s in SPLITS if s != "test" or any((source / name).exists() for name in files[s])]


def load(dataset: str, source: Path, split: str, classes: Path | None = None) -> Annotations:
    """The annotations of one split. `source` is the folder of the annotation files, or the CSV file itself.

    `classes` (CSV only) is a file with one class name a line. Raises `UserError` naming the file and the key.
    """
    if dataset == "csv":
        from sharding.sources import listing

        loaded = listing.load(source, split, classes)
    elif dataset == "sthv1":
        loaded = _load_v1(source, split)
    elif dataset == "sthv2":
        loaded = _load_v2(source, split)
    else:
        raise UserError(f"unknown data set {dataset!r}; known are {', '.join(DATASETS)}")
    return loaded


def load_classes(file: Path) -> list[str]:
    """The class names by index in a label file of Something-Something: v1's, a name a line, or v2's JSON."""
    if file.suffix == ".json":
        return _v2_classes(file)
    classes = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    _index(classes, file)
    return classes


def key_fault(key: str) -> str | None:
    """What forbids `key` as the name of a sample, or None.

    A reader splits a member's name at the first dot, and an extraction must stay in its folder.
    """
    if not key:
        return "is empty"
    if re.search(r"[/\\]", key):
        return "contains a path separator"
    if "." in key:
        return "contains a dot"
    if any(not c.isprintable() for c in key):
        return "contains a control character"
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    return None


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


def _find(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise UserError(f"{folder}: no {' and no '.join(names)} in it; give the folder of the annotation files")


def _load_v1(folder: Path, split: str) -> Annotations:
    labels = _find(folder, V1_FILES["labels"])
    classes = load_classes(labels)
    index = _index(classes, labels)
    file = _find(folder, _files(V1_FILES, split))
    videos = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        key, separator, name = (part.strip() for part in line.partition(";"))
        if split == "test":
            label = None
        elif not separator:
            raise UserError(f"{file}: line {number}: expected `id;label`, found {line!r}")
        else:
            label = _class(index, name, key, file, labels)
        videos.append(Video(key, key, label))
    check_keys(videos, file)
    return Annotations("sthv1", split, classes, videos)


def _load_v2(folder: Path, split: str) -> Annotations:
    labels = _find(folder, V2_FILES["labels"])
    classes = load_classes(labels)
    index = _index(classes, labels)
    file = _find(folder, _files(V2_FILES, split))
    rows = _json(file)
    if not isinstance(rows, list):
        raise UserError(f"{file}: expected a list of videos, found {type(rows).__name__}")
    videos = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("id"), (str, int)):
            raise UserError(f"{file}: entry {number} has no `id`; each entry is an object with an id")
        key = str(row["id"])
        about: dict[str, Any] = {k: row[k] for k in ("template", "placeholders") if k in row}
        if "label" in row:
            about["text"] = row["label"]
        label = None
        if split != "test":
            template = row.get("template")
            if not isinstance(template, str):
                raise UserError(f"{file}: id {key!r} has no `template`, which names its class")
            label = _class(index, re.sub(r"[\[\]]", "", template), key, file, labels)
        videos.append(Video(key, f"{key}.webm", label, about=about))
    check_keys(videos, file)
    return Annotations("sthv2", split, classes, videos)


def _v2_classes(file: Path) -> list[str]:
    table = _json(file)
    if not isinstance(table, dict):
        raise UserError(f"{file}: expected an object from class name to index, found {type(table).__name__}")
    by_index: dict[int, str] = {}
    for name, value in table.items():
        if not str(value).isdecimal():
            raise UserError(f"{file}: class {name!r} has the index {value!r}; expected 0 to {len(table) - 1}")
        if int(value) in by_index:
            raise UserError(f"{file}: index {value} is given to {by_index[int(value)]!r} and to {name!r}")
        by_index[int(value)] = name
    if sorted(by_index) != list(range(len(table))):
        raise UserError(f"{file}: the class indices must be 0 to {len(table) - 1}, each once")
    return [by_index[i] for i in range(len(table))]


def _files(files: dict[str, tuple[str, ...]], split: str) -> tuple[str, ...]:
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; known are {', '.join(SPLITS)}")
    return files[split]


def _index(classes: list[str], file: Path) -> dict[str, int]:
    index: dict[str, int] = {}
    for number, name in enumerate(classes):
        if name in index:
            raise UserError(f"{file}: class {name!r} appears twice")
        index[name] = number
    if not index:
        raise UserError(f"{file}: no classes in it; expected one a line")
    return index


def _class(index: dict[str, int], name: str, key: str, file: Path, labels: Path) -> int:
    try:
        return index[name]
    except KeyError:
        raise UserError(
            f"{file}: id {key!r} has the unknown class {name!r}; classes are in {labels.name}"
        ) from None


def _json(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not valid JSON (line {error.lineno}: {error.msg})") from None

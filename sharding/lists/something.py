"""The annotation files of Something-Something: v1 (CSV) and v2 (JSON)."""

import json
import re
from pathlib import Path
from typing import Any

from sharding.errors import UserError
from sharding.lists.videos import Annotations, Video, check_keys, read_lines, read_text, split_lines

SPLITS = ("train", "validation", "test")

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


def splits(folder: Path, version: int) -> list[str]:
    """The splits of the annotation files in `folder`; test counts only where its file is there."""
    files = V1_FILES if version == 1 else V2_FILES
    return [s for s in SPLITS if s != "test" or any((folder / name).exists() for name in files[s])]


def load_classes(file: Path) -> list[str]:
    """The class names by index in a label file of Something-Something: v1's, a name a line, or v2's JSON."""
    if file.suffix == ".json":
        return _v2_classes(file)
    classes = read_lines(file)
    _index(classes, file)
    return classes


def load_v1(folder: Path, split: str) -> Annotations:
    """One split of v1."""
    labels = _find(folder, V1_FILES["labels"])
    classes = load_classes(labels)
    index = _index(classes, labels)
    file = _find(folder, _files(V1_FILES, split))
    videos = []
    for number, line in enumerate(split_lines(read_text(file)), 1):
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


def load_v2(folder: Path, split: str) -> Annotations:
    """One split of v2."""
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
    for video in videos:
        _check_text(video.about, f"{file}: id {video.key!r}")
    return Annotations("sthv2", split, classes, videos)


def _find(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise UserError(f"{folder}: no {' and no '.join(names)} in it; give the folder of the annotation files")


def _v2_classes(file: Path) -> list[str]:
    table = _json(file)
    if not isinstance(table, dict):
        raise UserError(f"{file}: expected an object from class name to index, found {type(table).__name__}")
    _check_text(table, str(file))
    by_index: dict[int, str] = {}
    for name, value in table.items():
        if not str(value).isdecimal() or len(str(value)) > 9:
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


def _check_text(value: object, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise UserError(f"{where}: a text has {half!r}, half of a character; mend the file") from None


def _json(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not valid JSON (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise UserError(f"{file}: not valid JSON ({error})") from None

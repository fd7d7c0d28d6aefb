"""Any labelled videos as a CSV file: `path,label` and, if wanted, `split`, `id`, `start` and `end` (seconds)."""

import csv
import hashlib
import math
import re
from pathlib import Path, PurePosixPath

from sharding.errors import UserError
from sharding.format.keys import MAX_KEY_BYTES
from sharding.sources.videos import Annotations, Video, check_keys, read_text

COLUMNS = ("path", "label", "split", "id", "start", "end")


def splits(file: Path) -> list[str]:
    """The splits that the file names, in their order of appearance; `train` where it has no such column."""
    return list(dict.fromkeys(row["split"] for row in _rows(file)))


def load(file: Path, split: str, class_file: Path | None = None) -> Annotations:
    """The videos of one split. A video's key is its `id`, or else made from its path.

    Labels are class names, or indices where every label of the file is a number. The class list is
    `class_file` (one name a line), or else the names in the file in alphabetical order, over all its splits, or
    the numbers up to the largest. An empty label means that there is none.
    """
    rows = _rows(file)
    labels = {row["label"] for row in rows} - {""}
    by_number = bool(labels) and all(label.isdecimal() for label in labels)
    if class_file is not None:
        classes = [line.strip() for line in read_text(class_file).splitlines() if line.strip()]
    elif by_number:
        classes = [str(i) for i in range(max(map(int, labels)) + 1)]
    else:
        classes = sorted(labels)
    index = {name: i for i, name in enumerate(classes)}
    where = class_file.name if class_file is not None else file.name
    videos = []
    for row in rows:
        if row["split"] != split:
            continue
        key = row["id"] or key_of(row["path"], row["start"], row["end"])
        name = row["label"]
        if name == "":
            label = None
        elif name in index:
            label = index[name]
        elif by_number and int(name) < len(classes):
            label = int(name)
        else:
            raise UserError(f"{file}: line {row['line']}: unknown class {name!r}; classes are in {where}")
        videos.append(Video(key, row["path"], label, *_span(row, file)))
    if not videos:
        raise UserError(f"{file}: no videos of split {split!r}; it has {', '.join(splits(file))}")
    check_keys(videos, file)
    return Annotations("csv", split, classes, videos)


def key_of(path: str, start: str = "", end: str = "") -> str:
    """A sample's name from the path without its suffix and from the cut: readable, and never too long."""
    stem = str(PurePosixPath(path).with_suffix(""))
    whole = "_".join(part for part in (stem, start, end) if part)
    key = re.sub(r"[^0-9A-Za-z_-]+", "_", whole)
    if len(key) > MAX_KEY_BYTES:
        key = f"{key[: MAX_KEY_BYTES - 17]}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
    return key


def _rows(file: Path) -> list[dict[str, str]]:
    reader = csv.DictReader(read_text(file).splitlines(keepends=True), strict=True)
    rows = []
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        if "path" not in header or "label" not in header:
            raise UserError(f"{file}: the first line must name the columns path,label[,split,id,start,end]")
        for name in header:
            if name not in COLUMNS or header.count(name) > 1:
                raise UserError(
                    f"{file}: unknown or repeated column {name!r}; known are {', '.join(COLUMNS)}"
                )
        for raw in reader:
            if None in raw or None in raw.values():
                raise UserError(f"{file}: line {reader.line_num}: expected {len(header)} values")
            row = dict.fromkeys(COLUMNS, "") | {k: v.strip() for k, v in raw.items()}
            row["split"] = row["split"] or "train"
            row["line"] = str(reader.line_num)
            _check(row, file)
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{file}: line {reader.line_num}: not valid CSV: {error}") from None
    return rows


def _check(row: dict[str, str], file: Path) -> None:
    path = PurePosixPath(row["path"])
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in row["path"]:
        raise UserError(
            f"{file}: line {row['line']}: path {row['path']!r} must name something inside the video folder"
        )
    if not re.fullmatch(r"[0-9A-Za-z_-]+", row["split"]):
        raise UserError(f"{file}: line {row['line']}: split {row['split']!r} cannot be a folder's name")


def _span(row: dict[str, str], file: Path) -> tuple[float | None, float | None]:
    span = []
    for name in ("start", "end"):
        try:
            value = float(row[name]) if row[name] else None
        except ValueError:
            value = math.nan
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"{file}: line {row['line']}: {name} {row[name]!r} is not a time in seconds")
        span.append(value)
    start, end = span
    if end is not None and end <= (start or 0):
        raise UserError(
            f"{file}: line {row['line']}: end {row['end']} is not after start {row['start'] or 0}"
        )
    return start, end

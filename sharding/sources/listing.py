"""Any labelled videos as a CSV file: `path,label` and, if wanted, `split`, `id`, `start` and `end` (seconds)."""

import csv
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TextIO

from sharding.errors import UserError
from sharding.format.keys import MAX_KEY_BYTES
from sharding.sources.videos import Annotations, Video, check_keys, read_lines, read_text

COLUMNS = ("path", "label", "split", "id", "start", "end")
_HASH_DIGITS = 16
_MOST_CLASSES = 100_000
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.0*)?")  # pandas writes 3.0 where a column of numbers has gaps
_PLAIN_PATH = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*)*")  # most are so, and need no closer look
_PLAIN_KEY = re.compile(r"[0-9A-Za-z_-]+")


class Row(NamedTuple):
    """A line of the file as it stands there; `line` is its number."""

    line: int
    path: str
    label: str
    id: str
    start: str
    end: str


class Listing:
    """A CSV file, parsed once: the rows of each split in their order, and the classes of all splits.

    Labels are class names, or indices where every label of the file is a whole number. The class list is
    `class_file` (one name a line), or else the names in the file in alphabetical order, over all its splits, or
    the numbers up to the largest. An empty label means that there is none. Absolute paths must be in `videos`.
    Where the file has no column `split`, all is `train`; with a `share` (0 to 1), that part is `validation`.
    """

    def __init__(
        self,
        file: Path,
        class_file: Path | None = None,
        videos: Path | None = None,
        share: float | None = None,
    ) -> None:
        self._file = file
        self._share = share
        self._splits: dict[str, list[Row]] = {}
        self._of_label: dict[str, int | None] = {}
        for split, row in _rows(file, _folders(videos), share):
            self._splits.setdefault(split, []).append(row)
        if not self._splits:
            raise UserError(f"{file}: no videos in it; give a list with at least one")
        if share is not None and len(self._splits) < 2:
            there = ", ".join(self._splits)
            raise UserError(f"--validation-share {share:g}: all videos of {file} are {there} then; change it")
        self._number(class_file)

    def splits(self) -> list[str]:
        """The splits that the file names, in their order of appearance; with a share train and validation."""
        return list(self._splits) if self._share is None else ["train", "validation"]

    def annotations(self, split: str) -> Annotations:
        """The videos of one split. A video's key is its `id`, or else made from its path."""
        if split not in self._splits:
            raise UserError(f"{self._file}: no videos of split {split!r}; it has {', '.join(self.splits())}")
        rows = self._splits[split]
        videos = [
            Video(key, row.path, self._of_label[row.label], *_span(row, self._file))
            for key, row in zip(_keys(rows, self._file), rows, strict=True)
        ]
        check_keys(videos, self._file)
        return Annotations("csv", split, self._classes, videos, self._share)

    def _number(self, class_file: Path | None) -> None:
        """Give every label its class index."""
        first: dict[str, int] = {}
        for rows in self._splits.values():
            for row in rows:
                if row.label not in first or row.line < first[row.label]:
                    first[row.label] = row.line
        first.pop("", None)
        numbers = {label: match for label in first if (match := _NUMBER.fullmatch(label))}
        by_number = bool(first) and len(numbers) == len(first)
        indices = {
            label: _class_number(label, numbers[label], f"{self._file}: line {line}")
            for label, line in sorted(first.items(), key=lambda item: item[1])
            if by_number
        }
        if class_file is not None:
            self._classes = read_lines(class_file)
            if twice := [name for name, count in Counter(self._classes).items() if count > 1]:
                raise UserError(f"{class_file}: class {twice[0]!r} appears twice")
        elif by_number:
            self._classes = [str(i) for i in range(max(indices.values()) + 1)]
        else:
            self._classes = sorted(first)
        index = {name: i for i, name in enumerate(self._classes)}
        self._of_label[""] = None
        for label, line in first.items():
            number = indices.get(label)
            if label in index:
                self._of_label[label] = index[label]
            elif number is not None and number < len(self._classes):
                self._of_label[label] = number
            else:
                where = (class_file or self._file).name
                raise UserError(f"{self._file}: line {line}: unknown class {label!r}; classes are in {where}")


def key_of(path: str, start: str = "", end: str = "") -> str:
    """A sample's name from the path without its suffix and from the cut: readable, and never too long."""
    if _PLAIN_PATH.fullmatch(path) and path[-1] != ".":
        folder, slash, name = path.rpartition("/")
        stem = folder + slash + (name.rpartition(".")[0] or name)
    else:
        stem = str(PurePosixPath(path).with_suffix(""))
    whole = "_".join(part for part in (stem, start, end) if part)
    if len(whole) <= MAX_KEY_BYTES and _PLAIN_KEY.fullmatch(whole):
        return whole
    key = re.sub(r"[^0-9A-Za-z_-]+", "_", whole)
    return _with_hash(key, whole) if len(key) > MAX_KEY_BYTES else key


def _with_hash(key: str, whole: str) -> str:
    digits = hashlib.sha256(whole.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{key[: MAX_KEY_BYTES - _HASH_DIGITS - 1]}-{digits}"


def _keys(rows: list[Row], file: Path) -> list[str]:
    """Each row's id, or a name from its path. Names that would be the same are told apart by a hash of the path."""
    keys = [row.id or key_of(row.path, row.start, row.end) for row in rows]
    if len(set(keys)) == len(keys):
        return keys
    taken = Counter(keys)
    lines: dict[tuple[str, str, str], int] = {}
    for number, row in enumerate(rows):
        if row.id or taken[keys[number]] == 1:
            continue
        cut = row.path, row.start, row.end
        if cut in lines:
            raise UserError(
                f"{file}: line {row.line}: path {row.path!r} is in line {lines[cut]} too; remove one of the two, "
                "or give each a name of its own in a column `id`"
            )
        lines[cut] = row.line
        keys[number] = _with_hash(keys[number], "\n".join(cut))
    return keys


def _class_number(label: str, match: re.Match[str], where: str) -> int:
    sign, digits = match.groups()
    number = int(digits) if len(digits) < _HASH_DIGITS else _MOST_CLASSES
    if sign == "-" and number:
        raise UserError(
            f"{where}: label {label!r}: numbers of classes begin at 0; where there is no label, leave it empty"
        )
    if number >= _MOST_CLASSES:
        shown = label if len(label) <= 20 else f"{label[:20]}..."
        raise UserError(
            f"{where}: label {shown!r}: labels that are all whole numbers are indices of classes, "
            f"less than {_MOST_CLASSES}; if these are names, put a letter before them"
        )
    return number


def _rows(file: Path, folders: list[str], share: float | None) -> Iterator[tuple[str, Row]]:
    """Each row with its split."""
    try:
        with _opened(file) as stream:
            yield from _parsed(file, stream, folders, share)
    except UnicodeDecodeError:
        read_text(file)  # says which byte it is
        raise


def _opened(file: Path) -> TextIO:
    try:
        # So that only \n, \r and \r\n end a line, inside quotes not even those.
        return file.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give the CSV file of the annotations") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def _parsed(file: Path, stream: TextIO, folders: list[str], share: float | None) -> Iterator[tuple[str, Row]]:
    reader = csv.reader(stream, strict=True)
    try:
        header = _header(next(reader, []), file)
        if share is not None and "split" in header:
            raise UserError(f"{file}: it has a column `split`; leave out --validation-share")
        place = {name: header.index(name) for name in header}
        columns = [place.get(name) for name in ("path", "label", "id", "start", "end")]
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise UserError(
                    f"{file}: line {reader.line_num}: expected {len(header)} values, found {len(values)}"
                )
            path, label, key, start, end = [
                "" if column is None else values[column].strip() for column in columns
            ]
            where = f"{file}: line {reader.line_num}"
            path = path if _PLAIN_PATH.fullmatch(path) else _inside(path, folders, where)
            split = values[place["split"]].strip() if "split" in place else ""
            if split and not re.fullmatch(r"[0-9A-Za-z_-]+", split):
                raise UserError(f"{where}: split {split!r} cannot be a folder's name")
            if share is not None and _draw(path) < share:
                split = "validation"
            yield split or "train", Row(reader.line_num, path, label, key, start, end)
    except csv.Error as error:
        raise UserError(f"{file}: line {reader.line_num}: not valid CSV: {error}") from None


def _header(found: list[str], file: Path) -> list[str]:
    header = [name.strip() for name in found]
    if "path" not in header or "label" not in header:
        shown = ",".join(found)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
        raise UserError(
            f"{file}: the first line must name the columns path,label[,split,id,start,end], with commas; "
            f"it is {shown!r}"
        )
    for name in header:
        if name not in COLUMNS or header.count(name) > 1:
            raise UserError(
                f"{file}: unknown or repeated column {name!r} in {','.join(found)!r}; known are {', '.join(COLUMNS)}"
            )
    return header


def _draw(path: str) -> float:
    """0 to 1, by the path: all cuts of a video fall on the same side."""
    digest = hashlib.blake2b(f"validation:{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _folders(videos: Path | None) -> list[str]:
    """The beginnings that an absolute path into the video folder may have."""
    return (
        [] if videos is None else list(dict.fromkeys(f"{f}/" for f in (videos.absolute(), videos.resolve())))
    )


def _inside(path: str, folders: list[str], where: str) -> str:
    """`path`, from the video folder on."""
    for folder in folders:
        if path.startswith(folder):
            path = path.removeprefix(folder).lstrip("/")
            break
    parts = PurePosixPath(path)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise UserError(f"{where}: path {path!r} must name something inside the video folder")
    return path


def _span(row: Row, file: Path) -> tuple[float | None, float | None]:
    if not row.start and not row.end:
        return None, None
    span = []
    for name, text in (("start", row.start), ("end", row.end)):
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"{file}: line {row.line}: {name} {text!r} is not a time in seconds")
        span.append(value)
    start, end = span
    if end is not None and end <= (start or 0):
        raise UserError(f"{file}: line {row.line}: end {row.end} is not after start {row.start or 0}")
    return start, end

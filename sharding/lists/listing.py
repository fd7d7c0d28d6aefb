"""Any labelled videos as a CSV file: `path,label` and, if wanted, `split`, `id`, `start` and `end` (seconds)."""

import csv
import hashlib
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TextIO, overload

from sharding.errors import UserError
from sharding.format.keys import MAX_KEY_BYTES
from sharding.lists.videos import Annotations, Video, check_keys, read_lines, read_text

COLUMNS = ("path", "label", "split", "id", "start", "end")
_HASH_DIGITS = 16
_MOST_CLASSES = 100_000
Label = int | tuple[int, ...] | None
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.0*)?")  # pandas writes 3.0 where a column of numbers has gaps
_PLAIN_PATH = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*)*")  # most are so, and need no closer look
_PLAIN_KEY = re.compile(r"[0-9A-Za-z_-]+")
_NO_KEY = re.compile(r"[^0-9A-Za-z_-]+")


class _Split(Sequence[Video]):
    """The rows of a split, as columns: a list may have millions. A `Video` is made when it is asked for."""

    def __init__(self) -> None:
        self.lines = array("L")
        self.paths: list[str] = []
        self.labels: list[str] = []  # each text is held once, of all splits
        self.ids: dict[int, str] = {}
        self.cuts: dict[int, tuple[str, str]] = {}
        self.keys: list[str] = []
        self.spans: dict[int, tuple[float | None, float | None]] = {}
        self.of_label: dict[str, Label] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Video]:
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, i: int) -> Video: ...
    @overload
    def __getitem__(self, i: slice) -> list[Video]: ...
    def __getitem__(self, i: int | slice) -> Video | list[Video]:
        if isinstance(i, slice):
            return [self[n] for n in range(*i.indices(len(self)))]
        label = self.of_label[self.labels[i]]
        if self.spans:
            return Video(self.keys[i], self.paths[i], label, *self.spans.get(i, (None, None)))
        return Video(self.keys[i], self.paths[i], label)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Listing:
    """A CSV file, parsed once: the rows of each split in their order, and the classes of all splits.

    Labels are class names, or indices where every label of the file is a whole number. The class list is
    `class_file` (one name a line), or else the names in the file in alphabetical order, over all its splits, or
    the numbers up to the largest. An empty label means that there is none. Absolute paths must be in `videos`.
    With a `separator` each video has a list of labels, which stands between them in the file.
    Where the file has no column `split`, all is `train`; with a `share` (0 to 1), that part is `validation`.
    """

    def __init__(
        self,
        file: Path,
        class_file: Path | None = None,
        videos: Path | None = None,
        share: float | None = None,
        separator: str | None = None,
    ) -> None:
        if separator == "":
            raise UserError(
                "--label-separator: it is empty; give what stands between two labels, such as ';'"
            )
        self._file = file
        self._share = share
        self._separator = separator
        self._splits: dict[str, _Split] = {}
        self._of_label: dict[str, Label] = {}
        self._read(_folders(videos))
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
        rows.of_label = self._of_label
        rows.keys = _keys(rows, self._file)
        rows.spans = {i: _span(*cut, f"{self._file}: line {rows.lines[i]}") for i, cut in rows.cuts.items()}
        return Annotations(
            "csv", split, self._classes, rows, self._share, several=self._separator is not None
        )

    def _read(self, folders: list[str]) -> None:
        try:
            with _opened(self._file) as stream:
                self._parse(stream, folders)
        except UnicodeDecodeError:
            read_text(self._file)  # says which byte it is
            raise

    def _parse(self, stream: TextIO, folders: list[str]) -> None:
        file, share = self._file, self._share
        reader = csv.reader(stream, strict=True)
        texts: dict[str, str] = {}
        try:
            header = _header(next(reader, []), file)
            if share is not None and "split" in header:
                raise UserError(f"{file}: it has a column `split`; leave out --validation-share")
            at_path, at_label = header.index("path"), header.index("label")
            at_split, at_id, at_start, at_end = (
                header.index(name) if name in header else None for name in ("split", "id", "start", "end")
            )
            for values in reader:
                if len(values) != len(header):
                    if not values:
                        continue
                    raise UserError(
                        f"{file}: line {reader.line_num}: expected {len(header)} values, found {len(values)}"
                    )
                path = values[at_path].strip()
                if not _PLAIN_PATH.fullmatch(path):
                    path = _inside(path, folders, f"{file}: line {reader.line_num}")
                split = "train"
                if at_split is not None and (named := values[at_split].strip()):
                    split = named
                elif share is not None and _draw(path) < share:
                    split = "validation"
                rows = self._splits.get(split)
                if rows is None:
                    if not re.fullmatch(r"[0-9A-Za-z_-]+", split):
                        raise UserError(
                            f"{file}: line {reader.line_num}: split {split!r} cannot be a folder's name"
                        )
                    rows = self._splits[split] = _Split()
                label = values[at_label].strip()
                rows.labels.append(texts.setdefault(label, label))
                if at_id is not None and (key := values[at_id].strip()):
                    rows.ids[len(rows)] = key
                if at_start is not None or at_end is not None:
                    start = "" if at_start is None else values[at_start].strip()
                    end = "" if at_end is None else values[at_end].strip()
                    if start or end:
                        rows.cuts[len(rows)] = start, end
                rows.lines.append(reader.line_num)
                rows.paths.append(path)
        except csv.Error as error:
            raise UserError(f"{file}: line {reader.line_num}: not valid CSV: {error}") from None

    def _number(self, class_file: Path | None) -> None:
        """Give every label its class index, and every list of labels those of its entries."""
        texts: dict[str, int] = {}
        for rows in self._splits.values():
            for label, line in zip(rows.labels, rows.lines, strict=True):
                if label not in texts or line < texts[label]:
                    texts[label] = line
        texts.pop("", None)
        lists = {text: self._entries(text, f"{self._file}: line {line}") for text, line in texts.items()}
        first: dict[str, int] = {}
        for text, line in texts.items():
            for label in lists[text]:
                first[label] = min(line, first.get(label, line))
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
        found: dict[str, int] = {}
        for label, line in first.items():
            number = indices.get(label)
            if label in index:
                found[label] = index[label]
            elif number is not None and number < len(self._classes):
                found[label] = number
            else:
                where = (class_file or self._file).name
                raise UserError(f"{self._file}: line {line}: unknown class {label!r}; classes are in {where}")
        self._of_label = {"": None} | {
            text: _ascending([found[label] for label in labels], text, f"{self._file}: line {texts[text]}")
            if self._separator is not None
            else found[text]
            for text, labels in lists.items()
        }

    def _entries(self, text: str, where: str) -> list[str]:
        """The labels that a field names: it is one, or has the separator between several."""
        if self._separator is None:
            return [text]
        labels = [label.strip() for label in text.split(self._separator)]
        if "" in labels:
            raise UserError(
                f"{where}: labels {text!r}: one is empty; write each once, with {self._separator!r} between two"
            )
        return labels


def key_of(path: str, start: str = "", end: str = "") -> str:
    """A sample's name from the path without its suffix and from the cut: readable, and never too long."""
    if _PLAIN_PATH.fullmatch(path) and path[-1] != ".":
        folder, slash, name = path.rpartition("/")
        stem = folder + slash + (name.rpartition(".")[0] or name)
    else:
        stem = str(PurePosixPath(path).with_suffix(""))
    whole = "_".join(part for part in (stem, start, end) if part) if start or end else stem
    if len(whole) <= MAX_KEY_BYTES and _PLAIN_KEY.fullmatch(whole):
        return whole
    key = _NO_KEY.sub("_", whole)
    return _with_hash(key, whole) if len(key) > MAX_KEY_BYTES else key


def _ascending(numbers: list[int], text: str, where: str) -> tuple[int, ...]:
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{where}: labels {text!r}: a class is named twice; name each once")
    return tuple(sorted(numbers))


def _with_hash(key: str, whole: str) -> str:
    digits = hashlib.sha256(whole.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{key[: MAX_KEY_BYTES - _HASH_DIGITS - 1]}-{digits}"


def _keys(rows: _Split, file: Path) -> list[str]:
    """Each row's id, or a name from its path. Names that would be the same are told apart by a hash of the path."""
    if rows.ids or rows.cuts:
        keys = [rows.ids.get(i) or key_of(path, *rows.cuts.get(i, ())) for i, path in enumerate(rows.paths)]
    else:
        keys = [key_of(path) for path in rows.paths]
    for i in _alike(keys):
        if i in rows.ids:
            continue
        cut = rows.paths[i], *rows.cuts.get(i, ("", ""))
        keys[i] = _with_hash(keys[i], "\n".join(cut))
    named = sorted({*rows.ids, *_alike(keys)})
    first: dict[str, int] = {}
    for i in named:
        if i not in rows.ids and keys[i] in first:
            raise UserError(
                f"{file}: line {rows.lines[i]}: path {rows.paths[i]!r} is in line {rows.lines[first[keys[i]]]} too; "
                "remove one of the two, or give each a name of its own in a column `id`"
            )
        first.setdefault(keys[i], i)
    if named:
        check_keys((Video(keys[i], rows.paths[i], None) for i in named), file)
    return keys


def _alike(keys: list[str]) -> list[int]:
    """The numbers of all keys that another one equals, in order; without a set of a million texts."""
    import numpy as np  # late: --help of the command line comes by here

    hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
    values = np.sort(hashes)
    twice = values[1:][values[1:] == values[:-1]]
    if not len(twice):
        return []
    suspects = np.flatnonzero(np.isin(hashes, twice)).tolist()
    times = Counter(keys[i] for i in suspects)
    return [i for i in suspects if times[keys[i]] > 1]


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


def _opened(file: Path) -> TextIO:
    try:
        # So that only \n, \r and \r\n end a line, inside quotes not even those.
        return file.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give the CSV file of the annotations") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


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


def _span(start: str, end: str, where: str) -> tuple[float | None, float | None]:
    span = []
    for name, text in (("start", start), ("end", end)):
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"{where}: {name} {text!r} is not a time in seconds")
        span.append(value)
    first, last = span
    if last is not None and last <= (first or 0):
        raise UserError(f"{where}: end {end} is not after start {start or 0}")
    return first, last

"""What lies in a folder of downloads: parts of split archives, tars, zips of films, label files."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sharding.archives import parts, spans, zips
from sharding.archives.joined import GZIP
from sharding.archives.parts import ARCHIVE, Part
from sharding.archives.spans import Span
from sharding.errors import UserError

_ZIP = (b"PK\3\4", b"PK\5\6")
_TAR_MAGIC = slice(257, 262)
_UNFINISHED = {".part", ".crdownload", ".aria2", ".tmp", ".download"}
_BESIDE = {".txt", ".md", ".pdf", ".json", ".csv", ".html", ".rtf", ".md5", ".sha1", ".sha256", ""}
"""Suffixes of what may lie beside films without being one."""


@dataclass
class Contents:
    """What a folder of downloads has. `streams` are archives that can only be read from their beginning, in parts.

    `films` are members of zips by their names there; `tars` are whole and not compressed; `labels` are label files by
    their names. `files` says which files this was found in: path, bytes, time of change.
    """

    streams: list[list[Part]] = field(default_factory=list)
    tars: list[Path] = field(default_factory=list)
    films: list[tuple[str, Span]] = field(default_factory=list)
    labels: dict[str, Span] = field(default_factory=dict)
    files: list[tuple[str, int, int]] = field(default_factory=list)


def look(folder: Path, label_names: Collection[str]) -> Contents:
    """What is directly in `folder`. Nothing is inflated.

    Raises `UserError` for a part that is missing, there twice or cut, as far as names, sizes and tables of zips tell,
    and for a file that is neither an archive nor a part of one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --archives is the folder of the downloaded archives")
    contents, pieces = Contents(), list[Part]()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not is_junk(path.name)):
        _add(file, contents, pieces, label_names)
    contents.streams += parts.arrange(pieces)
    for stream in contents.streams:
        _check_beginning(stream)
    _check_names([Path(file) for file, _, _ in contents.files])
    if not (contents.streams or contents.tars or contents.films):
        raise UserError(
            f"{folder}: no archive of films in it; --archives is the folder of the downloaded archives"
        )
    return contents


def is_junk(name: str) -> bool:
    """Whether a name is of what file managers leave in archives and folders."""
    path = PurePosixPath(name)
    return path.name.startswith(("._", ".DS_Store", "Thumbs.db")) or "__MACOSX" in path.parts


def is_beside(name: str) -> bool:
    """Whether a name is of what lies beside films: a text, a list, a licence."""
    return PurePosixPath(name).suffix.lower() in _BESIDE


def _add(file: Path, contents: Contents, pieces: list[Part], label_names: Collection[str]) -> None:
    status = file.stat()
    whole = Span(str(file), 0, status.st_size, status.st_size)
    with file.open("rb") as stream:
        head = stream.read(512)
    named = parts.split_name(file.name)
    if file.suffix.lower() in _UNFINISHED:
        raise UserError(f"{file}: a download that has not ended; get the rest, or remove it")
    if file.name in label_names:
        contents.labels[file.name] = whole
    elif head.startswith(_ZIP):
        _add_zip(file, contents, pieces, label_names)
    elif file.suffix.lower() == ".zip":
        raise UserError(f"{file}: not a zip, or its beginning is missing; get it again")
    elif named is not None:
        pieces.append(Part(*named, whole, str(file)))
    elif head[_TAR_MAGIC] == b"ustar":
        contents.tars.append(file)
    elif head.startswith(GZIP):
        contents.streams.append([Part(file.name, "", whole, str(file))])
    elif ARCHIVE.search(file.name):
        raise UserError(f"{file}: neither a tar nor gzip; its beginning is missing or damaged, get it again")
    elif is_beside(file.name):
        return
    else:
        raise UserError(f"{file}: neither an archive nor a part of one; --archives takes no single films")
    contents.files.append((str(file), status.st_size, status.st_mtime_ns))


def _add_zip(file: Path, contents: Contents, pieces: list[Part], label_names: Collection[str]) -> None:
    for name, span in zips.members(file):
        last = PurePosixPath(name).name
        named = parts.split_name(last)
        if is_junk(name):
            continue
        if last in label_names:
            contents.labels[last] = span
        elif named is not None:
            pieces.append(Part(*named, span, str(file)))
        elif last.lower().endswith(".zip"):
            raise UserError(f"{file}: a zip in a zip ({name}); unpack the outer one, and give its folder")
        elif ARCHIVE.search(last):
            contents.streams.append([Part(last, "", span, f"{name} in {file}")])
        else:
            contents.films.append((name, span))


def _check_beginning(stream: list[Part]) -> None:
    first = stream[0]
    head = next(spans.chunks(first.span, str(first)), b"")[:512]
    if head.startswith(GZIP) or head[_TAR_MAGIC] == b"ustar":
        return
    if first.index > 0:
        raise UserError(
            f"part {parts.before(first)} of {first.stem} is missing: {first} is not its beginning"
        )
    raise UserError(f"{first}: neither a tar nor gzip; its beginning is missing or damaged, get it again")


def _check_names(files: list[Path]) -> None:
    """Archives that count themselves (`films_01.zip`, `films_02.zip`) leave no number out."""
    series: dict[tuple[Path, str, str], list[tuple[int, str, str]]] = {}
    for file in files:
        suffix = ARCHIVE.search(file.name)
        named = parts.split_name(file.name[: suffix.start()]) if suffix else None
        if suffix and named and named[1].isdigit():
            key = (file.parent, named[0], suffix[0].lower())
            series.setdefault(key, []).append((int(named[1]), named[1], str(file)))
    for (_, stem, suffix_text), found in series.items():
        if min(found)[0] <= 1:
            parts.check_numbers(sorted(found), f"{stem}*{suffix_text}")

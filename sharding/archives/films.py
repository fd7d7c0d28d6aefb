"""The films of a folder of downloads, each to be read into memory by its name.

Zips of films and plain tars are read where they lie. Archives that can only be read from their beginning (gzip, parts)
are read once, in their own order, and their films are kept in a spool: one file, with an index beside it. The index
is written when every byte of every archive has been seen and found whole, so it also says that this was checked.
"""

import contextlib
import errno
import fcntl
import io
import json
import os
import posixpath
import shutil
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from isal import igzip, isal_zlib

from sharding import storage
from sharding.archives import folder as folders
from sharding.archives import spans
from sharding.archives.folder import Contents
from sharding.archives.joined import Joined, opened
from sharding.archives.parts import Part
from sharding.archives.spans import Span
from sharding.archives.tars import BadTarError, Tar
from sharding.errors import UserError

OnBytes = Callable[[int], object]
"""Hears how many bytes of the archives were read since it was called last."""

_INDEX, _FILMS, _LABELS, _LOCK = "index.json", "films", "labels", "lock"
_FORMAT = 1


class Film(io.BytesIO):
    """A film in memory. FFmpeg looks at its name as it would at a file's."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


@dataclass(frozen=True)
class Films:
    """Films by the paths that annotations give them: a few of the archives' for one worker, or all."""

    spans: Mapping[str, Span]

    def of(self, paths: Collection[str]) -> "Films":
        """Those of `paths` that are there."""
        plain = {_plain(path) for path in paths}
        return Films({path: self.spans[path] for path in plain if path in self.spans})

    def size(self, path: str) -> int | None:
        """The bytes of the film at `path`, or None where the archives have none."""
        span = self.spans.get(_plain(path))
        return None if span is None else span.size

    def read(self, path: str) -> Film | None:
        """The film at `path`, or None where the archives have none. `UserError` where the archives have changed."""
        span = self.spans.get(_plain(path))
        return None if span is None else Film(spans.read(span, path), path)


class Downloads:
    """A folder of downloads, looked at; and `spool`, the folder for what is unpacked of it."""

    def __init__(self, folder: Path, spool: Path, label_names: Collection[str]) -> None:
        self.folder, self.spool = folder.resolve(), spool.resolve()
        self.contents: Contents = folders.look(self.folder, label_names)
        self.bytes = sum(size for _, size, _ in self.contents.files)

    def labels(self) -> Path:
        """The folder of the label files, which are written there."""
        if not self.contents.labels:
            raise UserError(f"{self.folder}: no label files in it; give their folder as --annotations")
        for name, span in self.contents.labels.items():
            storage.write_bytes(self.spool / _LABELS / name, spans.read(span, f"{name} of {span.file}"))
        return self.spool / _LABELS

    def films(self, on_bytes: OnBytes) -> Films:
        """All films. Every archive is read to its end first, unless that was done before.

        Raises `UserError` for an archive or part that is cut or damaged, and where there is no room for the spool.
        """
        self.spool.mkdir(parents=True, exist_ok=True)
        with _locked(self.spool / _LOCK):
            found = self._indexed()
            if found is None:
                found = self._read_all(on_bytes)
        return Films(_by_path(found))

    def forget(self) -> None:
        """Remove the spool."""
        for name in (_INDEX, _FILMS, _LOCK):
            (self.spool / name).unlink(missing_ok=True)
        shutil.rmtree(self.spool / _LABELS, ignore_errors=True)
        with contextlib.suppress(OSError):  # something else is in it
            self.spool.rmdir()

    def _indexed(self) -> list[tuple[str, Span]] | None:
        """What the index says, if it is of these archives as they are now."""
        try:
            index = json.loads((self.spool / _INDEX).read_bytes())
            if index["format"] != _FORMAT or index["archives"] != _as_json(self.contents.files):
                return None
            found = [(name, Span(*span)) for name, *span in index["films"]]
            spooled = sum(span.stored for _, span in found if span.file == str(self.spool / _FILMS))
            if spooled and (self.spool / _FILMS).stat().st_size != spooled:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return found

    def _read_all(self, on_bytes: OnBytes) -> list[tuple[str, Span]]:
        for left in self.spool.glob(f"{_FILMS}*"):  # of a build that was killed here
            left.unlink()
        found = [film for film in self.contents.films if not folders.is_junk(film[0])]
        for name, span in found:
            for chunk in spans.chunks(span, name):
                on_bytes(len(chunk))
        for tar in self.contents.tars:
            found += _in_tar(tar, on_bytes)
        found += self._spooled(on_bytes)
        _check_once(found)
        index = {
            "format": _FORMAT,
            "archives": self.contents.files,
            "films": [[name, *astuple(span)] for name, span in found],
        }
        storage.write_bytes(self.spool / _INDEX, json.dumps(index, separators=(",", ":")).encode())
        return found

    def _spooled(self, on_bytes: OnBytes) -> list[tuple[str, Span]]:
        streams = self.contents.streams
        if not streams:
            return []
        needed = sum(part.span.size for stream in streams for part in stream)
        if (free := shutil.disk_usage(self.spool).free) < needed:
            raise UserError(
                f"{self.spool}: the films need {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free; give --spool"
            )
        final = self.spool / _FILMS
        draft = self.spool / f"{_FILMS}.{socket.gethostname()}.{os.getpid()}"
        found: list[tuple[str, Span]] = []
        try:
            with draft.open("wb") as out:

                def keep(name: str, pieces: Iterator[bytes]) -> None:
                    start, crc = out.tell(), 0
                    for piece in pieces:
                        out.write(piece)
                        crc = isal_zlib.crc32(piece, crc)
                    size = out.tell() - start
                    found.append((name, Span(str(final), start, size, size, crc32=crc)))

                for stream in streams:
                    _pass_on(stream, on_bytes, keep)
            draft.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES):
                raise
            raise UserError(f"{draft}: cannot be written: {error.strerror}; give --spool") from None
        finally:
            draft.unlink(missing_ok=True)
        return found


def _pass_on(stream: list[Part], on_bytes: OnBytes, keep: Callable[[str, Iterator[bytes]], None]) -> None:
    """Give `keep` each film of one archive, in its order: its name there, and its bytes."""
    joined = Joined(stream, on_bytes)
    try:
        tar = Tar(opened(joined))
        for entry in tar:
            if not folders.is_junk(entry.name):
                keep(entry.name, tar.content())
    except EOFError:
        raise UserError(_ends_early(stream, "the compressed data has no end")) from None
    except (igzip.BadGzipFile, spans.BadDeflateError) as error:
        raise UserError(_damaged(joined.at, str(error))) from None
    except BadTarError as error:
        text = str(error)
        raise UserError(_ends_early(stream, text) if joined.ended else _damaged(joined.at, text)) from None


def _damaged(at: Part, reason: str) -> str:
    return f"{at}: damaged in it or in a part before it ({reason}); get these again"


def _ends_early(stream: list[Part], reason: str) -> str:
    last = stream[-1]
    if len(stream) == 1:
        return f"{last}: cut short ({reason}); get it again"
    return f"{last}, the last, is cut, or parts after it are missing ({reason}); get what is missing"


def _in_tar(file: Path, on_bytes: OnBytes) -> list[tuple[str, Span]]:
    try:
        with file.open("rb") as stream:
            found = [
                (entry.name, Span(str(file), entry.offset, entry.size, entry.size))
                for entry in Tar(stream, seekable=True)
                if not folders.is_junk(entry.name)
            ]
    except BadTarError as error:
        raise UserError(f"{file}: cut or damaged ({error}); get it again") from None
    on_bytes(file.stat().st_size)
    return found


def _check_once(found: list[tuple[str, Span]]) -> None:
    seen: dict[str, Span] = {}
    for name, span in found:
        other = seen.setdefault(_plain(name), span)
        if other is not span:
            raise UserError(
                f"{name} is in the archives twice, in {other.file} and in {span.file}; remove one of the archives"
            )


def _by_path(found: list[tuple[str, Span]]) -> dict[str, Span]:
    """The films by every path that annotations may give: the whole one, that below the folder which all films share,
    and the name alone where no other film has it."""
    named = [(_plain(name), span) for name, span in found]
    parents = [posixpath.dirname(name) for name, _ in named if not folders.is_beside(name)]
    above = posixpath.commonpath(parents) if parents else ""
    paths: dict[str, Span] = {}
    names: dict[str, Span | None] = {}
    for name, span in named:
        last = posixpath.basename(name)
        names[last] = None if last in names else span
        if above and name.startswith(f"{above}/"):
            paths[name[len(above) + 1 :]] = span
    alone = {name: span for name, span in names.items() if span is not None}
    return alone | paths | dict(named)


def _plain(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Alone in the block: tasks of one build share a spool, and one of them fills it."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield

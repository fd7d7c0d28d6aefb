"""The members of a tar that somebody made, one after another, by Python's own `tarfile`.

Passed over are what webdataset passes over: folders, devices, pipes, and names of the form `__name__`. What it would
read wrongly or lose without a word is refused by name.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from sharding.errors import UserError
from sharding.foreign.tape import Tape

_BLOCK = tarfile.BLOCKSIZE
_MULTI_VOLUME = b"M"  # GNU tar's
_META = re.compile(r"__[^/]*__($|/)")  # webdataset's
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


@dataclass(frozen=True)
class Member:
    """A file in the tar: its name, where its headers begin, where its content lies, and where the next one begins."""

    name: str
    start: int
    content: int
    size: int
    end: int


class Members:
    """The members of the tar at `url`, which `tape` reads, to be gone over once.

    What may be forgotten is for the caller to say; half a block before the next member is looked at again. Raises
    `UserError` for what is no tar, is cut short or damaged, and for members whose content is not in one piece here.
    """

    def __init__(self, tape: Tape, url: str) -> None:
        self._tape, self._url, self._stopped = tape, url, 0

    def __iter__(self) -> Iterator[Member]:
        _refuse_compressed(self._tape, self._url)
        try:
            with tarfile.open(fileobj=self._tape, mode="r:", errorlevel=2) as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined] # it would keep them all
                    if _META.match(info.name):
                        continue
                    if (fault := _fault(info)) is not None:
                        raise UserError(f"{self._url}: member {info.name}: {fault}")
                    if info.isreg():
                        yield self._whole(info)
                self._stopped = tar.offset
        except (tarfile.TarError, ValueError) as error:
            where = f"{self._url}: not a tar, or damaged, behind byte {self._tape.tell()}"
            raise UserError(f"{where}: {error}; copy it again") from None

    def finish(self) -> list[str]:
        """Read what follows the last member. Returns what a user should know of it."""
        at = self._stopped
        mark = self._tape.content(at, at + _BLOCK)
        if mark.strip(b"\0"):
            raise UserError(f"{self._url}: damaged: no member begins at byte {at}; copy it again")
        self._tape.seek(at)
        notes = []
        if len(mark) < _BLOCK:
            notes.append(f"{self._url}: no mark of its end; it may be cut short behind its last sample")
        if self._tape.rest():
            notes.append(f"{self._url}: more follows its end, which webdataset does not read either")
        return notes

    def _whole(self, info: tarfile.TarInfo) -> Member:
        found = _member(info)
        if found.size:
            self._tape.content(found.end - 1, found.end)
            if self._tape.end < found.content + found.size:
                raise UserError(f"{self._url}: ends inside member {found.name}: cut short; copy it again")
        return found


def _refuse_compressed(tape: Tape, url: str) -> None:
    first = tape.content(0, 8)
    for magic, (kind, undo) in _COMPRESSED.items():
        if first.startswith(magic):
            raise UserError(
                f"{url}: compressed with {kind}: no sample can be read without all before it; {undo} it"
            )


def _fault(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return (
            f"a link to {info.linkname}, whose content is not here; pack the files again with tar's --dereference "
            "--hard-dereference"
        )
    if info.issparse():
        return "a sparse file, stored in pieces; pack it again without tar's --sparse"
    if info.type == _MULTI_VOLUME:
        return "goes on from another volume; join the volumes first"
    return None


def _member(info: tarfile.TarInfo) -> Member:
    end = info.offset_data + info.size + (-info.size % _BLOCK)
    return Member(info.name, info.offset, info.offset_data, info.size, end)

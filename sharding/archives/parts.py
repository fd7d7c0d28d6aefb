"""Parts of a split archive: their numbers are in their names, and tell which are missing, doubled or cut."""

import itertools
import re
from collections import Counter
from dataclasses import dataclass

from sharding.archives.spans import Span
from sharding.errors import UserError

_NUMBER = re.compile(r"(?P<stem>.*?)(?P<number>\d{1,4})")
_LETTERS = re.compile(r"(?P<stem>.*(?:\.tar|\.tgz|\.gz|part)[._-]?)(?P<number>[a-z]{2})")
ARCHIVE = re.compile(r"\.(tar|tgz|tar\.gz|zip)$", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A piece of an archive: what its name begins with, its number as it is written, and where its bytes are.

    `where` is the file that the user sees; a whole archive is one part without a number.
    """

    stem: str
    number: str
    span: Span
    where: str

    @property
    def index(self) -> int:
        """The number as one; `aa` is 0, as `split` counts."""
        if self.number.isdigit():
            return int(self.number)
        return (ord(self.number[0]) - ord("a")) * 26 + ord(self.number[1]) - ord("a")

    def __str__(self) -> str:
        return f"part {self.number} of {self.stem} ({self.where})" if self.number else self.where


def split_name(name: str) -> tuple[str, str] | None:
    """What a part's file name begins with, and its number; None where it is not named like a part."""
    if ARCHIVE.search(name):
        return None
    found = _LETTERS.fullmatch(name) or _NUMBER.fullmatch(name)
    return (found["stem"], found["number"]) if found else None


def arrange(parts: list[Part]) -> list[list[Part]]:
    """The parts of each archive in order. Raises `UserError` for a part that is missing, there twice, or cut."""
    sets: dict[str, list[Part]] = {}
    for part in parts:
        sets.setdefault(part.stem, []).append(part)
    for found in sets.values():
        found.sort(key=lambda part: part.index)
        check_numbers([(part.index, part.number, part.where) for part in found], found[0].stem)
        _check_sizes(found)
    return list(sets.values())


def before(part: Part) -> str:
    """The number before that of `part`, as it would be written."""
    return _written(part.index - 1, part.number)


def check_numbers(found: list[tuple[int, str, str]], stem: str) -> None:
    """Raise `UserError` where the numbers (index, as written, file) are not a row from 0 or 1 on, each once."""
    for (one, text, where), (two, _, other) in itertools.pairwise(found):
        if one == two:
            raise UserError(f"part {text} of {stem} is there twice: {where} and {other}; remove one of them")
    there = {index for index, _, _ in found}
    missing = [index for index in range(min(1, min(there)), max(there)) if index not in there]
    if missing:
        names = ", ".join(_written(index, found[0][1]) for index in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        one_or_all = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"part {names}{more} of {stem} {one_or_all} missing ({len(found)} parts are there); "
            "get the rest before anything is built"
        )


def _check_sizes(found: list[Part]) -> None:
    """All parts but the last are of one size, where most of them are; another size is a cut."""
    *rest, last = found
    if not rest:
        return
    counts = Counter(part.span.size for part in rest)
    size, count = max(counts.items(), key=lambda item: (item[1], item[0]))
    if len(rest) == 1:
        size = max(size, last.span.size)
    elif 2 * count < len(rest):
        return
    for part in rest:
        if part.span.size != size:
            raise UserError(_cut(part, size))


def _cut(part: Part, size: int) -> str:
    return f"{part}: {part.span.size} bytes, the others have {size}: it is cut or not of this archive; get it again"


def _written(index: int, like: str) -> str:
    if like.isdigit():
        return f"{index:0{len(like)}}"
    return chr(ord("a") + index // 26) + chr(ord("a") + index % 26)

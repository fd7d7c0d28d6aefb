"""Labels of samples: what each one's own text says, and later the index of its class."""

import csv
import functools
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sharding import storage
from sharding.errors import UserError
from sharding.foreign.grouping import Group
from sharding.foreign.members import Member
from sharding.format import manifest
from sharding.sources.fault import Unusable

Said = int | str | tuple[int | str, ...] | None
"""A label as it is written: the number or the name of a class, or a list of them."""

_MOST_CLASSES = 1_000_000
_NEGATIVE = re.compile(r"-\d+")  # what many write where a label is not known


@dataclass(frozen=True)
class Rule:
    """Where labels are from: a member of the sample, a field of its .json, a table by key, or nowhere.

    `name`: the member's ending, the field, or the table's URL. Each process that is told of a table reads it once: its
    millions of rows would be sent along with every tar.
    """

    kind: Literal["none", "member", "json", "csv"]
    name: str = ""

    def of(self, group: Group, read: Callable[[Member], bytes]) -> Said:
        """The label of a sample. Raises `Unusable` where it has none."""
        match self.kind:
            case "none":
                return None
            case "csv":
                return self._of_table(group.key)
        ending = "json" if self.kind == "json" else self.name
        member = group.members.get(ending)
        if member is None:
            raise Unusable(f"no label: it has no .{ending}")
        try:
            text = read(member).decode("utf-8-sig").strip()
            said = _field(json.loads(text), self.name) if self.kind == "json" else text
        except (ValueError, RecursionError):
            raise Unusable(f"no label: its .{ending} cannot be read") from None
        return _sound(said, f"its .{ending}")

    def _of_table(self, key: str) -> Said:
        table = _table(self.name)
        for name in (key, key.rpartition("/")[2]):
            if name in table:
                return _sound(table[name], self.name)
        raise Unusable(f"no label: its key is not in {self.name}")


def parse(text: str) -> Rule:
    """The rule in `none`, `cls`, `txt`, `json:FIELD` or `csv:FILE`. Raises `UserError`."""
    kind, _, rest = text.partition(":")
    if text in ("none", ""):
        return Rule("none")
    if kind == "json" and rest:
        return Rule("json", rest)
    if kind == "csv" and rest:
        _table.cache_clear()  # it may be another one by now
        _table(rest)
        return Rule("csv", rest)
    if not rest and kind in ("cls", "txt"):
        return Rule("member", kind)
    raise UserError(f"--label {text}: give cls, txt, json:FIELD, csv:FILE or none")


@functools.lru_cache(1)
def _table(url: str) -> dict[str, str]:
    """A CSV with the columns key and label."""
    rows = csv.DictReader(io.StringIO(_text(url)), restval="")
    found: dict[str, str] = {}
    try:
        if not {"key", "label"} <= set(rows.fieldnames or []):
            raise UserError(f"{url}: its first line must name the columns key and label")
        for row in rows:
            key = row["key"]
            if not key or key in found:
                fault = f"key {key} is there twice" if key else "no key"
                raise UserError(f"{url}, line {rows.line_num}: {fault}")
            found[key] = row["label"].strip()
    except csv.Error as error:
        raise UserError(f"{url}, line {rows.line_num}: no CSV ({error})") from None
    return found


def _text(url: str) -> str:
    try:
        return storage.read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{url}: not UTF-8; save it as UTF-8") from None


def _field(found: Any, name: str) -> Any:
    if isinstance(found, dict) and name in found:
        return found[name]
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            raise Unusable(f"no label: no field {name} in its .json")
        found = found[part]
    return found


def _sound(said: Any, where: str) -> Said:
    if isinstance(said, list):
        many = tuple(_one(each, where) for each in said)
        if not many or len(set(many)) < len(many):
            raise Unusable(f"no label: {where} has an empty list of them, or one twice")
        return many
    return _one(said, where)


def _one(said: Any, where: str) -> int | str:
    if isinstance(said, bool) or not isinstance(said, int | str) or said == "":
        raise Unusable(f"no label: {where} has neither a number nor a name there")
    if _NEGATIVE.fullmatch(str(said)):
        raise Unusable(f"no label: {where} has {said} there, and classes are numbered from 0 on")
    if _surrogates(str(said)):
        raise Unusable(f"no label: {where} has a name there that is no Unicode text")
    return said


def _surrogates(text: str) -> bool:
    """Whether there are halves of characters in it, which JSON can say and no file can hold."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def class_names(url: str) -> list[str]:
    """The classes of a file of names, one a line, or of another split's manifest. Raises `UserError`."""
    if url.endswith(".json"):
        return manifest.load(url).classes
    names = [name for line in _text(url).splitlines() if (name := line.strip())]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        raise UserError(f"{url}: {f'class {twice[0]} is there twice' if twice else 'no class in it'}")
    return names


class Classes:
    """The classes of a split, and which of them a label is.

    `names`, where they are given, number the classes in their order. Else, where every label is a number, there are as
    many classes as the largest needs, named by their numbers; and where one is not, the labels in alphabetical order
    are the classes.
    """

    def __init__(self, said: Iterable[Said], names: list[str] | None) -> None:
        every = {one for each in said for one in _each(each)}
        numbers = {one for one in map(_number, every) if one is not None}
        self._are_numbers = len(numbers) > 0 and all(_number(one) is not None for one in every)
        self._given = names is not None
        if names is not None:
            self.names = names
        elif self._are_numbers:
            if max(numbers) >= _MOST_CLASSES:
                raise UserError(
                    f"--label: {max(numbers)} is a label, too large for a class; is it another field?"
                )
            self.names = [str(i) for i in range(max(numbers) + 1)]
        else:
            self.names = sorted({str(one) for one in every})
        self._place = {name: i for i, name in enumerate(self.names)}

    def index(self, said: Said, where: str) -> int | tuple[int, ...] | None:
        """The index of a label, or of each in ascending order. `UserError` for one that is no class."""
        if said is None:
            return None
        if isinstance(said, tuple):
            return tuple(sorted({self._index(one, where) for one in said}))
        return self._index(said, where)

    def _index(self, said: int | str, where: str) -> int:
        if str(said) in self._place:
            return self._place[str(said)]
        number = _number(said)
        if number is not None and number < len(self.names):
            return number
        of = "--classes" if self._given else "the classes"
        raise UserError(f"{where}: label {said!r} is none of the {len(self.names)} of {of}")


def _each(said: Said) -> tuple[int | str, ...]:
    if said is None:
        return ()
    return said if isinstance(said, tuple) else (said,)


def _number(said: int | str) -> int | None:
    """A label's number, if it is one."""
    if isinstance(said, int):
        return said if said >= 0 else None
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None

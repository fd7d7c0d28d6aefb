"""Which members of a tar are a sample, by webdataset's own rule: those in a row that share their name up to a dot."""

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sharding.errors import UserError
from sharding.foreign.members import Member


@dataclass(frozen=True)
class Group:
    """A sample: its key, and its members by what their names have behind the key's dot, in lower case."""

    key: str
    members: dict[str, Member]

    @property
    def end(self) -> int:
        """The byte at which its last member ends."""
        return max(member.end for member in self.members.values())


def load_webdataset() -> None:
    """For processes that do nothing else: import webdataset without torch, which would take seconds.

    What is missing in it then are its loaders.
    """
    if "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment] # Python's way to say that there is none
        try:
            importlib.import_module("webdataset.tariterators")
        finally:
            del sys.modules["torch"]


def groups(members: Iterable[Member], url: str) -> Iterator[Group]:
    """The samples among the `members` of the tar at `url`.

    Raises `UserError` where a member is there twice, or where the members of a sample lie apart: webdataset would make
    several samples of that.
    """
    from webdataset import tariterators  # takes torch with it where that is installed

    files = ({"fname": member.name, "data": member, "__url__": url} for member in members)
    seen: set[str] = set()
    samples: Iterator[dict[str, Any]] = tariterators.group_by_keys(files)
    try:
        for sample in samples:
            key = sample["__key__"]
            found = {name: value for name, value in sample.items() if isinstance(value, Member)}
            if not found:
                continue
            if key in seen:
                first = min(found.values(), key=lambda member: member.start)
                raise UserError(
                    f"{url}: member {first.name}: the members of sample {key} lie apart; pack them next to one "
                    "another, say with tar's --sort=name"
                )
            seen.add(key)
            yield Group(key, found)
    except ValueError as error:
        name = str(error.args[0]).partition(": duplicate")[0]
        raise UserError(
            f"{url}: member {name} is there twice, with the same key and ending; remove one, or name them apart"
        ) from None

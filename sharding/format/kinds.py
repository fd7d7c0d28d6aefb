"""What kind of set one is, by the settings of its recipe, and which format version its files have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sharding.errors import UserError
from sharding.format import schema

T = TypeVar("T")

FORMAT = 1
INDEXED_FORMAT = 2
"""Of the index of tars that others made (`sharding.foreign`); programs that know version 1 alone refuse it."""
FILM_FORMAT = 3
"""Of shards that hold films as they came; programs that know versions 1 and 2 alone refuse it."""
_FORMATS = {FORMAT: "", INDEXED_FORMAT: " of an index", FILM_FORMAT: " of films"}

_LABELS, _SEVERAL = "labels", "several"
_LAYOUT, _WEBDATASET = "layout", "webdataset"
_STORE, _FILM = "store", "film"


def with_several_labels(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe of which each sample has a list of labels."""
    return {**settings, _LABELS: _SEVERAL}


def has_several_labels(settings: dict[str, Any]) -> bool:
    """Whether the samples of a set with these settings have a list of labels each; else it is one at most."""
    return settings.get(_LABELS) == _SEVERAL


def of_indexed_tars(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe whose samples lie in tars that others made."""
    return {_LAYOUT: _WEBDATASET, **settings}


def is_indexed(settings: dict[str, Any]) -> bool:
    """Whether the samples of a set with these settings lie in tars that others made; else they were built."""
    return settings.get(_LAYOUT) == _WEBDATASET


def has_films(settings: dict[str, Any]) -> bool:
    """Whether the shards of a set with these settings hold films as they came; else they hold JPEGs."""
    return settings.get(_STORE) == _FILM


def format_of(settings: dict[str, Any]) -> int:
    """The format version of the files of a set with these settings."""
    if has_films(settings):
        return FILM_FORMAT
    return INDEXED_FORMAT if is_indexed(settings) else FORMAT


def is_flow(settings: dict[str, Any]) -> bool:
    """Whether a split that was built with `settings` holds optical flow: gray pictures of x and y by turns."""
    return settings.get("input") == "flow"


def has_single_pictures(settings: dict[str, Any]) -> bool:
    """Whether a sample of a split that was built with `settings` is one picture, and no video."""
    return settings.get("input") == "image"


@dataclass(frozen=True)
class _Versioned:
    __pydantic_config__ = schema.OPEN

    format: Any = None


def parse_file(kinds: Mapping[int, type[T]], url: str, data: bytes, what: str, remedy: str) -> T:
    """What `data` says, which was read from `url`, and is `what`: of the kind that its format version has.

    Raises `UserError` for anything else, with the `remedy`.
    """
    try:
        found = schema.parse(_Versioned, data).format
        if type(found) is int and found in kinds:
            return schema.parse(kinds[found], data)
    except ValueError as error:
        raise UserError(f"{url}: not {what} ({error}); {remedy}") from None
    known = [f"{version}{_FORMATS[version]}" for version in sorted(kinds)]
    versions = " and ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known)
    raise UserError(f"{url}: format version {found!r}, this program reads version {versions}")

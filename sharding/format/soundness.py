"""What makes a shard sound, wherever that is asked: before a build, when a split is finished, when it is verified.

Its tar and its sidecar are there; the sidecar can be read and is this tar's; it was built from the recipe at hand; the
tar is as large as it says. That the bytes are right too is `sharding.building.verify`'s part.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TypeVar

from sharding import storage
from sharding.errors import UserError
from sharding.format.sidecar import Place, Recipe, Sidecar, load_sidecar

T = TypeVar("T")
R = TypeVar("R")
_REQUESTS = 16  # at the same time: a bucket answers each in tens of milliseconds


class UnsoundError(UserError):
    """A shard that cannot be used as it is; `sidecar` is its own."""

    def __init__(self, text: str, sidecar: Sidecar) -> None:
        super().__init__(text)
        self.sidecar = sidecar


class WrongSizeError(UnsoundError):
    """Its tar is of another size than the sidecar says: cut short, most likely. It is to be built again."""


class OtherRecipeError(UnsoundError):
    """It was built from other settings or annotations."""


def check(place: Place, recipe: Recipe | None = None) -> Sidecar:
    """The sidecar of the shard at `place`, sound and built from `recipe` if that is given.

    Raises `UnsoundError`, and `UserError` where the sidecar is missing or cannot be used.
    """
    sidecar = load_sidecar(place.sidecar_url)
    judge(place, sidecar, recipe)
    return sidecar


def judge(place: Place, sidecar: Sidecar, recipe: Recipe | None = None) -> None:
    """Raise `UnsoundError` unless `sidecar` was made for the tar at `place`, which is as large as it says."""
    if sidecar.name != place.tar_name:
        text = f"{place.sidecar_url}: the sidecar of {sidecar.name}; run blvnet-shard build --repair"
        raise UnsoundError(text, sidecar)
    if recipe is not None and sidecar.recipe != recipe:
        raise OtherRecipeError(
            f"{place.sidecar_url}: built from other settings or annotations: "
            f"{difference(recipe, sidecar.recipe)}; build with those of before, or into another folder",
            sidecar,
        )
    size = storage.size(place.tar_url)
    if size != sidecar.bytes:
        text = f"{place.tar_url}: {size} bytes, should be {sidecar.bytes}; run its build again"
        raise WrongSizeError(text, sidecar)


def examine(places: Iterable[Place], recipe: Recipe, of: Callable[[Sidecar], R]) -> list[R | UserError]:
    """For each place what `of` tells of its sidecar, or what `check` raises; all asked at the same time.

    Sidecars hold a row for each of perhaps a million samples, and are not kept.
    """

    def look(place: Place) -> R | UserError:
        try:
            return of(check(place, recipe))
        except UserError as error:
            return error

    return at_once(look, places)


def at_once(ask: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """What `ask` answers of each thing, many asked at the same time."""
    with ThreadPoolExecutor(_REQUESTS) as threads:
        return list(threads.map(ask, things))


def difference(new: Recipe, old: Recipe) -> str:
    """The first thing in which two recipes differ, for an error."""
    mine, theirs = asdict(new), asdict(old)
    mine |= {f"setting {k}": v for k, v in mine.pop("settings").items()}
    theirs |= {f"setting {k}": v for k, v in theirs.pop("settings").items()}
    for name in sorted({*mine, *theirs}, key=lambda n: (not n.startswith("setting"), n)):
        if mine.get(name) != theirs.get(name):
            if name in ("annotations", "classes"):
                return f"the {name} differ"
            return f"{name} is {mine.get(name)!r} and was {theirs.get(name)!r}"
    return "nothing"

"""What makes a shard sound, wherever that is asked: before a build, when a split is finished, when it is verified.

Its tar and its sidecar are there; the sidecar can be read and is this tar's; it was built from the recipe at hand; the
tar is as large as it says. That the bytes are right too is `sharding.building.verify`'s part.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from sharding import storage
from sharding.errors import UserError
from sharding.format.shard import Place, Recipe, Sidecar, load_sidecar

_REQUESTS = 16  # at the same time: a bucket answers each in tens of milliseconds


class WrongSizeError(UserError):
    """A tar of another size than its sidecar says: cut short, most likely. It is to be built again."""

    def __init__(self, place: Place, size: int, sidecar: Sidecar) -> None:
        super().__init__(f"{place.tar_url}: {size} bytes, should be {sidecar.bytes}; run its build again")
        self.size, self.sidecar = size, sidecar


def check(place: Place, recipe: Recipe | None = None) -> Sidecar:
    """The sidecar of the shard at `place`, built from `recipe` if that is given.

    Raises `WrongSizeError`, and `UserError` for all else that keeps the shard from being used.
    """
    sidecar = load_sidecar(place.sidecar_url)
    if sidecar.name != place.tar_name:
        raise UserError(
            f"{place.sidecar_url}: the sidecar of {sidecar.name}; run blvnet-shard build --repair"
        )
    if recipe is not None and sidecar.recipe != recipe:
        raise UserError(
            f"{place.sidecar_url}: built from other settings or annotations: "
            f"{difference(recipe, sidecar.recipe)}; build with those of before, or into another folder"
        )
    size = storage.size(place.tar_url)
    if size != sidecar.bytes:
        raise WrongSizeError(place, size, sidecar)
    return sidecar


def examine(places: Iterable[Place], recipe: Recipe) -> list[Sidecar | UserError]:
    """For each place what `check` returns or raises, all asked at the same time."""

    def look(place: Place) -> Sidecar | UserError:
        try:
            return check(place, recipe)
        except UserError as error:
            return error

    with ThreadPoolExecutor(_REQUESTS) as threads:
        return list(threads.map(look, places))


def load_sidecars(places: Iterable[Place]) -> list[Sidecar]:
    """The sidecars of these shards, read at the same time."""
    with ThreadPoolExecutor(_REQUESTS) as threads:
        return list(threads.map(lambda place: load_sidecar(place.sidecar_url), places))


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

"""The recipe of a split as a file of its own: published before the first shard, and compared by all who add to it."""

import contextlib
import json
import re
from dataclasses import asdict, dataclass

from sharding import storage
from sharding.errors import UserError
from sharding.format import schema
from sharding.format.kinds import FORMAT, parse_file
from sharding.format.sidecar import Recipe, load_sidecar
from sharding.format.soundness import difference

NAME = "recipe.json"
_SIDECAR = re.compile(r"shard-\d{6}\.json")


@dataclass(frozen=True)
class _File:
    __pydantic_config__ = schema.OPEN

    recipe: Recipe


def save(folder: str, recipe: Recipe) -> None:
    """Publish the recipe of the split in `folder`."""
    text = json.dumps({"format": FORMAT, "recipe": asdict(recipe)}, ensure_ascii=False, indent=1) + "\n"
    storage.write_bytes(storage.join(folder, NAME), text.encode())


def load(folder: str) -> Recipe:
    """The recipe of the split in `folder`. Raises `UserError` where it is missing or malformed."""
    url = storage.join(folder, NAME)
    remedy = "remove it and run its build again"
    return parse_file({FORMAT: _File}, url, storage.read_bytes(url), "a recipe", remedy).recipe


def check(folder: str, recipe: Recipe, found: Recipe) -> None:
    """`UserError` with the first difference, where the recipe `found` in `folder` is not the one to build from."""
    if found != recipe:
        raise UserError(
            f"{storage.join(folder, NAME)}: built from other settings or annotations: {difference(recipe, found)}; "
            "build with those of before, or into another folder, or remove this one"
        )


def claim(folder: str, recipe: Recipe) -> set[str]:
    """Publish `recipe` in the folder of its split, and return the names of the files that are there.

    Raises `UserError` where the folder has another recipe, or shards from another one.
    """
    names = set(storage.list_names(folder))
    if NAME in names:
        check(folder, recipe, load(folder))
        return names
    # Shards of a release that wrote no such file.
    for name in sorted(filter(_SIDECAR.fullmatch, names)):
        with contextlib.suppress(UserError):  # a damaged one is told of, or repaired, with its shard
            found = load_sidecar(storage.join(folder, name)).recipe
            break
    else:
        found = recipe
    check(folder, recipe, found)
    save(folder, recipe)
    return names


def confirm(folder: str, recipe: Recipe) -> None:
    """`UserError` where another build has taken the folder meanwhile, as two that begin at once may do."""
    check(folder, recipe, load(folder))

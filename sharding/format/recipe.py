"""The recipe of a split as a file of its own: published before the first shard, and compared by all who add to it."""

import json
from dataclasses import asdict, dataclass

from sharding import storage
from sharding.errors import UserError
from sharding.format import schema
from sharding.format.shard import FORMAT, Recipe, parse_file
from sharding.format.soundness import difference

NAME = "recipe.json"


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
    return parse_file(
        _File, url, storage.read_bytes(url), "a recipe", "remove it and run its build again"
    ).recipe


def check(folder: str, recipe: Recipe, found: Recipe) -> None:
    """`UserError` with the first difference, where the recipe `found` in `folder` is not the one to build from."""
    if found != recipe:
        raise UserError(
            f"{storage.join(folder, NAME)}: built from other settings or annotations: {difference(recipe, found)}; "
            "build with those of before, or into another folder, or remove this one"
        )

"""A split's folder belongs to one recipe, which stands in it before the first shard."""

import contextlib
import re

from sharding import storage
from sharding.errors import UserError
from sharding.format import recipe as recipes
from sharding.format.shard import Recipe, load_sidecar

_SIDECAR = re.compile(r"shard-\d{6}\.json")


def claim(folder: str, recipe: Recipe) -> set[str]:
    """Publish `recipe` in the folder of its split, and return the names of the files that are there.

    Raises `UserError` where the folder has another recipe, or shards from another one.
    """
    names = set(storage.list_names(folder))
    if recipes.NAME in names:
        recipes.check(folder, recipe, recipes.load(folder))
        return names
    # Shards of a release that wrote no such file.
    for name in sorted(filter(_SIDECAR.fullmatch, names)):
        with contextlib.suppress(UserError):  # a damaged one is told of, or repaired, with its shard
            found = load_sidecar(storage.join(folder, name)).recipe
            break
    else:
        found = recipe
    recipes.check(folder, recipe, found)
    recipes.save(folder, recipe)
    return names


def confirm(folder: str, recipe: Recipe) -> None:
    """`UserError` where another build has taken the folder meanwhile, as two that begin at once may do."""
    recipes.check(folder, recipe, recipes.load(folder))

"""A configuration before it is checked: YAML files, each over its base and its recipe, changed by overrides."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from sharding import storage
from sharding.arguments import place
from sharding.errors import UserError

Tree = dict[str, Any]

_PACKAGED = Path(__file__).parents[1] / "configs"  # in an installed wheel
_CHECKED_OUT = Path(__file__).parents[2] / "configs"
SHIPPED = _PACKAGED if _PACKAGED.is_dir() else _CHECKED_OUT
"""The folder of the configurations that come with the program."""


def read(name: str) -> tuple[Tree, str]:
    """The tree in the YAML file `name`, and that file: a path, a URL, or the name of a shipped configuration.

    What the file's `base` states, relative to itself, lies beneath.
    """
    path = _found(name)
    return _read_with_base(path), path


def with_recipe(tree: Tree, source: str) -> Tree:
    """`tree` laid over the one of its `recipes` that its key `recipe` names."""
    settings = {key: value for key, value in tree.items() if key not in ("recipe", "recipes")}
    if "recipe" not in tree:
        return settings
    name, recipes = tree["recipe"], tree.get("recipes", {})
    if not isinstance(recipes, dict) or not isinstance(recipes.get(str(name)), dict):
        known = ", ".join(map(str, recipes)) if isinstance(recipes, dict) else ""
        raise UserError(f"{source}: recipe: {name} is none of its recipes: {known or 'it has none'}")
    return _merged(recipes[str(name)], settings)


def override(tree: Tree, text: str) -> None:
    """Carry out one `key.path=value` in `tree`; the value is read as YAML."""
    key, equals, content = text.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"{text!r}: an override has the form key.path=value")
    try:
        value = _parsed(content)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"{text!r}: the value is not valid YAML") from None
    *sections, last = key.split(".")
    for section in sections:
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise UserError(f"{text!r}: {section} is no section")
    tree[last] = value


def _found(name: str) -> str:
    name = place(name)
    shipped = SHIPPED / f"{name}.yaml"
    is_a_name = not name.endswith((".yaml", ".yml")) and "/" not in name
    if is_a_name and not shipped.is_file() and not Path(name).exists():
        names = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
        raise UserError(f"{name}: no file, and no shipped configuration; these are {names}")
    return str(shipped) if is_a_name and shipped.is_file() else name


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error: the first one would be dropped silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    where = f"line {key.start_mark.line + 1}"
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is given twice ({where})"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parsed(text: str | bytes) -> Any:
    return yaml.load(text, _Loader)


def _read_with_base(path: str, above: tuple[str, ...] = ()) -> Tree:
    try:
        tree = _parsed(storage.read_bytes(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a configuration is a mapping of sections")
    if "base" not in tree:
        return tree
    base = tree.pop("base")
    if not isinstance(base, str) or not base:
        raise UserError(f"{path}: base: must be the name of a file")
    base = place(base)
    if path in above:
        raise UserError(f"{path}: base: is a file's own base, by way of {', '.join(above)}")
    folder, slash, _ = path.rpartition("/")
    beside = base if Path(base).is_absolute() or "://" in base else f"{folder}{slash}{base}"
    is_shipped = "/" not in base and not storage.exists(beside) and (SHIPPED / base).is_file()
    return _merged(_read_with_base(str(SHIPPED / base) if is_shipped else beside, (*above, path)), tree)


def _merged(base: Tree, changes: Tree) -> Tree:
    """`base` with `changes` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged

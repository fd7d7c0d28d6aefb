"""What a configuration's model says of its own keys: a table for people, and what was meant by a word mistyped."""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

REQUIRED = "required"
"""In place of a default."""


@dataclass(frozen=True)
class Key:
    """One key: its dotted path, what values it takes, its default as it is written in YAML, and its sentence."""

    path: str
    values: str
    default: str
    sentence: str


@dataclass(frozen=True)
class Group:
    """The keys of one section, and the section's sentence."""

    name: str
    sentence: str
    keys: list[Key]


def groups(model: type[BaseModel]) -> Iterator[Group]:
    """The sections of `model`, a model of models."""
    schema = model.model_json_schema()
    for name, section in schema["properties"].items():
        inner = schema["$defs"][section["$ref"].rpartition("/")[2]]
        required = inner.get("required", [])
        keys = [
            Key(
                f"{name}.{key}",
                _values(field),
                _default(field, key in required),
                field.get("description", ""),
            )
            for key, field in inner["properties"].items()
        ]
        yield Group(name, inner.get("description", ""), keys)


def problem(path: str, value: Any, model: type[BaseModel]) -> str:
    """What to say of a `value` that the key at `path` does not take."""
    for group in groups(model):
        if group.name == path:
            return f"{path}: must be a section with keys of its own, not {_shown(value)}"
        for key in group.keys:
            if path == key.path or path.startswith(f"{key.path}."):
                return f"{key.path}: must be {_article(key.values)}, not {_shown(value)}"
    return f"{path}: cannot be {_shown(value)}"


def missing(path: str, model: type[BaseModel]) -> str:
    """What to say where the key or section at `path` is not given."""
    for group in groups(model):
        if group.name == path:
            needed = ", ".join(key.path for key in group.keys if key.default == REQUIRED)
            return f"{path}: missing; give {needed}"
        for key in group.keys:
            if key.path == path:
                return f"{path}: missing; give the {key.sentence[0].lower()}{key.sentence[1:].rstrip('.')}"
    return f"{path}: missing"


def as_text(model: type[BaseModel], width: int = 100) -> list[str]:
    """The table in lines for a terminal."""
    lines = []
    for group in groups(model):
        lines += [f"{group.name}: {group.sentence}", ""]
        for key in group.keys:
            lines.append(f"  {key.path}  [{key.default}]  {key.values}")
            lines += wrap(key.sentence, width, initial_indent="      ", subsequent_indent="      ")
        lines.append("")
    return lines[:-1]


def advice(path: str, model: type[BaseModel]) -> str:
    """What to say to someone who wrote `path`, which is no key of `model`: the key that was meant, or what there is."""
    sections = {group.name: group.keys for group in groups(model)}
    section, _, word = path.rpartition(".")
    inside = sections.get(section, [])
    # The right word in a wrong section, and a word that a key's sentence uses (learning_rate), are good guesses too.
    near = (
        _close(word, inside, 0.7)
        or [key.path for keys in sections.values() for key in keys if key.path.endswith(f".{word.lower()}")]
        or [key.path for key in inside if word.replace("_", " ") in key.sentence.lower()]
        or difflib.get_close_matches(path, sections, 1, 0.75)
    )
    if near:
        return f"did you mean {near[0]}?"
    known = [key.path for key in inside] or list(sections)
    return f"there are {', '.join(known)}"


def _close(word: str, keys: list[Key], cutoff: float) -> list[str]:
    by_word = {key.path.rpartition(".")[2]: key.path for key in keys}
    return [by_word[found] for found in difflib.get_close_matches(word.lower(), by_word, 1, cutoff)]


def _article(values: str) -> str:
    """`values` as a sentence goes on after "must be"."""
    if values.startswith(("whole", "number", "text", "list", "mapping")):
        return f"a {values}"
    *first, last = re.split(", | or ", values)
    return f"{', '.join(first)} or {last}" if first else last


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.strip() else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _default(field: Schema, required: bool) -> str:
    if required:
        return REQUIRED
    value = field["default"]
    return value if isinstance(value, str) else json.dumps(value)  # which YAML reads as well


def _values(field: Schema) -> str:
    """What values a key takes, in words."""
    if "anyOf" in field:
        return " or ".join(_values(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    kind = field["type"]
    if kind == "array":
        return f"list of {_values(field['items'])}s"
    if kind == "object":
        return f"mapping of text to {_values(field['additionalProperties'])}"
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true, false",
        "null": "null",
    }
    limits = [
        f"{sign} {field[name]:.15g}"
        for name, sign in (
            ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"),
        )
        if name in field
    ]  # fmt: skip
    limits += ["even"] if field.get("multipleOf") == 2 else []
    return " ".join([words[kind], ", ".join(limits)]).strip()

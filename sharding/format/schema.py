"""JSON of a fixed form, read strictly: another type, another field or a value out of range is refused in one line.

What is read is said once, as a frozen dataclass whose fields have types and ranges (`Annotated[int, Field(ge=0)]`).
JSON nested deeper than 200 levels, and numbers of more than 4,300 digits, are refused before they cost anything.
"""

from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, FailFast, TypeAdapter, ValidationError

T = TypeVar("T")

EXACT = ConfigDict(strict=True, extra="forbid")
"""For dataclasses whose JSON has these fields and no others, as `__pydantic_config__`."""
OPEN = ConfigDict(strict=True, extra="ignore")
"""The same, but other fields are passed over."""


Row = TypeVar("Row")
Rows = Annotated[list[Row], FailFast()]
"""A list whose first wrong item ends the reading: a million of them would each be reported."""


def parse(kind: type[T], data: bytes | memoryview) -> T:
    """The `kind` in `data`, which is JSON. Raises ValueError: the first place that is not as it should be, and why."""
    if kind not in _readers:
        _readers[kind] = TypeAdapter(kind)
    reader: TypeAdapter[T] = _readers[kind]
    try:
        return reader.validate_json(bytes(data))
    except ValidationError as error:
        raise ValueError(_problem(error)) from None


_readers: dict[Any, TypeAdapter[Any]] = {}


_BRANCHES = {"constrained-int", "tuple[constrained-int, ...]"}
"""What pydantic adds to the place of a value that may be a number or a list of numbers."""


def _problem(error: ValidationError) -> str:
    every = error.errors(include_url=False, include_context=False)
    first = every[0]
    if first["loc"][-1:] == ("constrained-int",):  # of a list, what is wrong inside it
        value = first["loc"][:-1]
        inside = [e for e in every if e["loc"][: len(value)] == value and len(e["loc"]) > len(first["loc"])]
        first = (inside or every)[0]
    reason = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "json_invalid":
        return f"not JSON: {reason.removeprefix('invalid JSON: ')}"
    where = ".".join(str(part) for part in first["loc"] if part not in _BRANCHES)
    found = f", found {_short(first['input'])}" if first["type"] != "missing" else ""
    return f"{where}: {reason}{found}" if where else f"{reason}{found}"


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."

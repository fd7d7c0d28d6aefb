"""How what a transform makes lies in memory: loader processes write it there, byte by byte, and training reads it."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ALIGNED = 16
"""Bytes of the largest number that an array holds."""
_WANTED = "make an array, a tensor or a number, or a dict of such by name"


@dataclass(frozen=True)
class Field:
    """One array: what it is like, and where its bytes begin."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int

    @property
    def bytes(self) -> int:
        """How many it takes."""
        return prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {self.shape}"


@dataclass(frozen=True)
class Layout:
    """The arrays of one sample, by name; a transform that makes no dict has one, with an empty name."""

    fields: dict[str, Field]
    bytes: int

    def write(self, made: Any, memory: Tensor) -> None:
        """Put what was `made` of a sample into `memory`, uint8 (bytes,). ValueError where it is of another form."""
        values = _named(made)
        found = _layout(values)
        if found != self:
            raise ValueError(f"{found}, and {self} of the split's first sample; all must be alike")
        for name, field in self.fields.items():
            place = memory[field.start : field.start + field.bytes].view(field.dtype).view(field.shape)
            value = values[name]
            if isinstance(value, Tensor):
                place.copy_(value.detach())
            else:
                np.copyto(place.numpy(), value)

    def read(self, memory: Tensor) -> Tensor | dict[str, Tensor]:
        """What was written of so many samples, not copied; `memory`: uint8 (samples, bytes), or (0,) of none."""
        if memory.ndim == 1:
            memory = memory.view(0, self.bytes)
        arrays = {
            name: memory[:, field.start : field.start + field.bytes]
            .view(field.dtype)
            .view(len(memory), *field.shape)
            for name, field in self.fields.items()
        }
        return arrays.get("", arrays)

    def __str__(self) -> str:
        parts = [f"{name}: {field}" if name else str(field) for name, field in self.fields.items()]
        return ", ".join(parts)


def layout_of(made: Any) -> Layout:
    """The layout of what was `made` of one sample. ValueError where it is not arrays, tensors or numbers."""
    return _layout(_named(made))


def _layout(values: dict[str, Any]) -> Layout:
    fields: dict[str, Field] = {}
    end = 0
    for name, value in values.items():
        field = Field(tuple(value.shape), _dtype(name, value), -(-end // _ALIGNED) * _ALIGNED)
        if not field.bytes:
            raise ValueError(f"{field}: an empty array")
        fields[name] = field
        end = field.start + field.bytes
    # The next sample's bytes begin where these end.
    return Layout(fields, end if len(fields) == 1 else -(-end // _ALIGNED) * _ALIGNED)


def _named(made: Any) -> dict[str, Any]:
    """Arrays and tensors by name."""
    if not isinstance(made, dict):
        return {"": _array(made)}
    if not made or not all(isinstance(name, str) and name for name in made):
        raise ValueError("a dict whose keys are not names")
    return {name: _array(value) for name, value in made.items()}


def _array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value
    if value is None or isinstance(value, list | tuple | str | bytes):
        raise ValueError(f"a {type(value).__name__}; {_WANTED}")
    return np.asarray(value)


def _dtype(name: str, value: Any) -> torch.dtype:
    if isinstance(value, Tensor):
        return value.dtype
    try:
        return torch.from_numpy(np.empty(0, value.dtype)).dtype
    except (TypeError, ValueError):
        what = f"{name}: " if name else ""
        raise ValueError(f"{what}an array of {value.dtype}; {_WANTED}") from None

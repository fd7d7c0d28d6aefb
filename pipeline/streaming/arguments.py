"""What a program gives a stream: mistakes are told where the stream is made, in one line, and not where it is read."""

import math
import operator
from pathlib import Path
from typing import Any

import torch

from sharding.errors import UserError


def whole(name: str, value: Any, least: int) -> int:
    """`value` as a number of Python's own, as a state keeps it. `UserError` for one that is less, or not whole."""
    try:
        number = operator.index(value)
    except TypeError:
        raise UserError(f"{name}: a whole number is wanted, not {value!r}") from None
    if number < least:
        raise UserError(f"{name}: {number} is less than {least}")
    return number


def weight(url: str, value: Any) -> float:
    """The same of the weight of the set at `url`: any number more than 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"mix: {url}: a weight is a number more than 0, not {value}")
    return int(number) if number.is_integer() else number  # told as it was given


def share(name: str, value: float) -> float:
    """`value`, from 0 to 1."""
    if not 0 <= value <= 1:
        raise UserError(f"{name}: {value} is no share; give a number from 0 to 1")
    return value


def device(value: str | torch.device) -> torch.device:
    """`value`, a CPU or a GPU that is here."""
    try:
        found = torch.device(value)
    except RuntimeError:
        raise UserError(f"device: torch knows no {value!r}") from None
    gpus = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= gpus:
        raise UserError(
            f"device: {found}, and torch finds {gpus or 'no'} GPUs here; leave out device for the CPU"
        )
    return found


def check_cache(folder: str | Path | None, gigabytes: float, films: str) -> None:
    """`UserError` where a cache in `folder` keeps nothing, or is not there for what becomes of `films`."""
    if films not in ("decode", "jpeg"):
        raise UserError(f"films: {films!r} is neither 'decode' nor 'jpeg'")
    if films == "jpeg" and folder is None:
        raise UserError("films='jpeg' needs a folder for the shards of JPEGs: give cache")
    if folder is not None and not gigabytes > 0:
        raise UserError(f"cache_gb: {gigabytes} keeps no shard; give more, or leave out cache")

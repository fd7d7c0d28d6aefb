"""What one process has read, on every rank: a checkpoint is hundreds of megabytes, and a store sends it once."""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.ranks.distributed import World


class _Place(NamedTuple):
    """Where a tensor stands: its number."""

    number: int


def share_state(world: World, state: dict[str, Any] | None) -> dict[str, Any] | None:
    """The main process's `state`, of dicts, lists, plain values and tensors on the CPU, on every rank; or its None.

    The tensors go one by one, so that no process ever holds more than the state and one of them. Every rank must call
    it.
    """
    if world.ranks == 1:
        return state
    tensors: list[Tensor] = []
    described = world.share((_without(state, tensors), [(t.shape, t.dtype) for t in tensors]))
    if not world.main:
        tensors = [torch.empty(shape, dtype=dtype) for shape, dtype in described[1]]
    for number, tensor in enumerate(tensors):
        tensors[number] = tensor.contiguous()
        if tensor.numel():
            dist.broadcast(tensors[number], src=0)
    found: dict[str, Any] | None = state if world.main else _with(described[0], tensors)
    return found


def _without(value: Any, tensors: list[Tensor]) -> Any:
    """`value` with a place for each tensor, which joins `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return _Place(len(tensors) - 1)
    if isinstance(value, dict):
        return {key: _without(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, tensors) for item in value]
    return value


def _with(value: Any, tensors: list[Tensor]) -> Any:
    """`value` with the tensors in their places."""
    if isinstance(value, _Place):
        return tensors[value.number]
    if isinstance(value, dict):
        return {key: _with(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_with(item, tensors) for item in value]
    return value

"""A state that changes, as it is now: what a thread writes while training goes on."""

from typing import Any

import torch


def copied(state: Any) -> Any:
    """`state` with every tensor in it copied to host memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [copied(value) for value in state]
    return state

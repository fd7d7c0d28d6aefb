"""How many bytes the operations of torch read and write."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from blvnet import tam_op

_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "_unsafe_view"}


class Traffic(TorchDispatchMode):
    """Counts the bytes of every operation's arguments and results; views, and memory without content, are free."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in _FREE:
            self.bytes += sum(map(_bytes, tree_leaves((args, kwargs, out))))
        return out


def _bytes(value: Any) -> int:
    """The memory that lies under a tensor: not its expanded dimensions."""
    if not isinstance(value, Tensor):
        return 0
    sizes = [size for size, stride in zip(value.shape, value.stride(), strict=True) if stride]
    return torch.Size(sizes).numel() * value.element_size()


def kernel_bytes(
    x: Tensor, weight: Tensor, num_frames: int, streams: int, paired: bool
) -> tuple[int, int, int]:
    """What the kernels of `blvnet.tam_kernel` load and store, forward and backward; and the least that would do.

    The least reads the frames once in each direction, writes the outputs, reads their gradients, and writes the
    frames'. The kernels also read the outputs again, for the ReLU, and keep the weight's gradient a tile.
    """
    _, channels, programs, sizes = tam_op._tiling(x, weight, num_frames, streams, paired)
    frames = x.numel() * x.element_size()
    outputs = frames * (2 if paired else 1)
    down = programs // -(-channels // sizes["COLUMNS"])
    weights = down * weight.numel() * 4
    forward = frames + outputs + weights
    backward = 2 * frames + 2 * outputs + 2 * weights
    return forward, backward, 3 * frames + 2 * outputs

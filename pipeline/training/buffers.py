"""A model's buffers (batch-norm statistics) as they were before a step, for the step that turns out to be unfit."""

import torch
from torch import Tensor, nn


class Buffers:
    """The buffers of `model`, kept and put back as one tensor for each dtype.

    They are hundreds of small ones (f8x2 with depth 50: 213): a kernel for each would keep a GPU's host longer than
    the copying keeps the GPU.
    """

    def __init__(self, model: nn.Module) -> None:
        dtypes = {buffer.dtype for buffer in model.buffers()}
        self._groups = [[b.view(-1) for b in model.buffers() if b.dtype == dtype] for dtype in dtypes]

    def copied(self) -> list[Tensor]:
        """What they hold now."""
        return [torch.cat(group) for group in self._groups]

    def put_back(self, before: list[Tensor], unfit: Tensor) -> None:
        """Let them hold again what was `copied` before, where the bool scalar `unfit` says so; nothing waits for it."""
        for group, old, new in zip(self._groups, before, self.copied(), strict=True):
            # Chosen, not blended: what is left behind may be NaN.
            chosen = torch.split(torch.where(unfit, old, new), [len(buffer) for buffer in group])
            torch._foreach_copy_(group, chosen)

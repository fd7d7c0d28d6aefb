"""The moving average of the weights, which is evaluated in place of the weights of the last step."""

import copy

import torch
from torch import Tensor

from blvnet import BLVNetTAM


class Average:
    """An exponential moving average of everything in `model`'s state: weights and batch-norm statistics.

    It starts as a copy. After step t (from 0) the share of the old average is `decay`, or (1 + t) / (10 + t) while
    that is less, so that the first random weights are soon forgotten.
    """

    def __init__(self, model: BLVNetTAM, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int, unfit: Tensor) -> None:
        """Take in the model as it is after step number `step` of the run, unless that was `unfit` and changed nothing.

        `unfit`: a bool scalar on the device, which is not waited for.
        """
        share = torch.where(unfit, 0.0, 1 - min(self._decay, (1 + step) / (10 + step)))
        ours, theirs = zip(*self._floats, strict=True)
        moves = torch._foreach_sub(theirs, ours)
        torch._foreach_mul_(moves, share)
        torch._foreach_add_(ours, moves)
        for counter, newest in self._counters:
            counter.copy_(newest)

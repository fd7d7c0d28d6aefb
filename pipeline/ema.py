"""The moving average of the weights, which is evaluated in place of the weights of the last step."""

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

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
    def update(self, step: int) -> None:
        """Take in the model as it is after step number `step` of the run."""
        mean = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        ours, theirs = zip(*self._floats, strict=True)
        mean(ours, theirs, None)
        for counter, newest in self._counters:
            counter.copy_(newest)

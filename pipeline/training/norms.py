"""The running statistics of batch norms, which evaluation uses: without what they began with, and of all ranks."""

from typing import cast

import torch
from torch import Tensor, nn

from blvnet import BLVNetTAM
from pipeline.config import Optim
from pipeline.ranks.distributed import World


def frozen_norms(model: BLVNetTAM, optim: Optim) -> list[nn.Module]:
    """The batch norms that stay in evaluation mode."""
    if optim.frozen_norm == "none":
        return []
    first = model.backbone.stem.frames.norm
    return [norm for norm in _norms(model) if optim.frozen_norm == "all" or norm is not first]


class RunningStatistics:
    """The running means and variances of `model`'s norms, as `optim` wants them kept.

    They are hundreds of small tensors, treated as one. Nothing here waits for the device.
    """

    def __init__(self, model: BLVNetTAM, optim: Optim, world: World) -> None:
        norms = _norms(model)
        values = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
        self._values = cast(list[Tensor], values)
        # Of the norms that take in batches all have seen as many, and the first is frozen only with all others.
        self._batches = cast(Tensor, norms[0].num_batches_tracked)
        self._momentum = cast(float, norms[0].momentum)
        self._unbiased = optim.unbiased_norm and optim.frozen_norm != "all"
        alike = optim.sync_norm or optim.frozen_norm == "all"  # on all ranks already
        self._shared = optim.norm_ranks == "all" and world.ranks > 1 and not alike
        self._world = world

    def before_batch(self) -> Tensor | None:
        """What `after_batch` needs to know of them, if anything."""
        return self._copied() if self._unbiased else None

    def after_batch(self, before: Tensor | None) -> None:
        """Take what they began with out of them, when they have taken in a batch since `before_batch`.

        A norm's own rule keeps (1 - momentum)^n of the first values after n batches: of a variance of 1, where the
        layers of a fresh network give a thousandth. Divided by what is left, 1 - (1 - momentum)^n, as Kingma and Ba do
        it (Adam, 2015, section 3), they are the moving average of the batches alone, from the first one on.
        """
        if before is not None:
            share = 1 / (1 - (1 - self._momentum) ** self._batches)
            self._put(torch.lerp(before, self._copied(), share))

    def after_step(self) -> None:
        """Average them over the ranks, in one exchange.

        At every step, so that all ranks have the same ones: what a checkpoint keeps depends on no rank, and when it is
        written changes nothing.
        """
        if self._shared:
            self._put(self._world.mean(self._copied()))

    def _copied(self) -> Tensor:
        return torch.cat(self._values)

    def _put(self, values: Tensor) -> None:
        torch._foreach_copy_(self._values, torch.split(values, [len(value) for value in self._values]))


def _norms(model: nn.Module) -> list[nn.BatchNorm2d | nn.SyncBatchNorm]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.SyncBatchNorm)]

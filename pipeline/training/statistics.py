"""Batch-norm statistics computed anew, for a network whose clips are not those that its weights were trained on."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from blvnet import BLVNetTAM
from pipeline.config import Config
from pipeline.ranks.distributed import World
from pipeline.training.normalise import Normaliser
from pipeline.training.precision import Precision


@torch.no_grad()
def recompute(model: BLVNetTAM, clips: Iterable[Tensor], config: Config, world: World) -> None:
    """Replace the mean and variance of every norm by their averages over `clips`, on all ranks together.

    `model` is on the rank's device; `clips`: uint8 (batch, frames, channels, size, size), equally many on each rank.
    Twice the frames of a video follow each other at half the distance: with the statistics of the shorter clips a
    network that knew every demo clip knows four of five, with new ones all (`benchmarks/progressive.py`). The averages
    are those of Wu and Johnson, "Rethinking 'Batch' in BatchNorm" (2021), section 3.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    normalise, precision = Normaliser(world.device), Precision(config.run.precision, world.device)
    model.train()
    for some in clips:
        with precision.autocast():
            model(normalise(some))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for average in (norm.running_mean, norm.running_var):
            assert average is not None
            world.mean(average)

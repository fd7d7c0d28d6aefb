"""The optimiser and the learning rate of each step."""

from math import cos, pi
from typing import Any

import torch
from torch import nn

from pipeline.config import Optim


def sgd(model: nn.Module, optim: Optim, device: torch.device) -> torch.optim.SGD:
    """The paper's optimiser (section 4.1): SGD with Nesterov momentum.

    There are two groups whatever the settings, so that a checkpoint's momenta fit when these change: the weights of
    convolutions, TAMs and the classifier; then norms' scales and all biases, which `decay_norms` may spare the decay.
    """
    parameters = list(model.parameters())
    vectors_decay = optim.weight_decay if optim.decay_norms else 0.0
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": vectors_decay},
    ]
    return torch.optim.SGD(
        groups,
        lr=optim.lr,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        weight_decay=optim.weight_decay,
        fused=device.type == "cuda",
    )


def learning_rate(optim: Optim, epoch: int, step: int, steps: int) -> float:
    """The rate for step `step` of the `steps` in `epoch`, scaled linearly with the global batch."""
    rate = optim.lr * optim.global_batch / optim.lr_batch
    if optim.schedule == "cosine":
        rate *= 0.5 * (1 + cos(pi * epoch / optim.epochs))
    elif optim.schedule == "steps":
        rate *= 0.1 ** (epoch // optim.step_epochs)
    done = epoch + (step + 1) / steps
    if done < optim.warmup_epochs:
        rate *= done / optim.warmup_epochs
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for every parameter from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate

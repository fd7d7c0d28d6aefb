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
    optimizer = torch.optim.SGD(
        groups,
        lr=optim.lr,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        weight_decay=optim.weight_decay,
        fused=device.type == "cuda",
    )
    if device.type == "cuda" and optim.momentum:
        # A fused first step that is skipped would leave them as the memory happens to be.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


class Schedule:
    """The learning rate over a run; its state is what a plateau was decided by."""

    def __init__(self, optim: Optim) -> None:
        self._optim = optim
        self._best = -1.0
        self._waited = 0
        self._divisions = 0

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """The rate for step `step` of the `steps` in `epoch`, scaled linearly with the global batch."""
        optim = self._optim
        rate = optim.lr * optim.global_batch / optim.lr_batch
        if optim.schedule == "cosine":
            rate *= 0.5 * (1 + cos(pi * epoch / optim.epochs))
        else:
            rate *= 0.1 ** self._divided(epoch)
        done = epoch + (step + 1) / steps
        if done < optim.warmup_epochs:
            rate *= done / optim.warmup_epochs
        return rate

    def evaluated(self, top1: float) -> None:
        """Note the validation top-1 of an evaluation; every rank must be told the same."""
        self._waited = 0 if top1 > self._best else self._waited + 1
        self._best = max(self._best, top1)
        if self._waited == self._optim.patience:
            self._waited = 0
            self._divisions += 1

    def state(self) -> dict[str, float]:
        """What the evaluations so far have led to, to be saved."""
        return {"best": self._best, "waited": self._waited, "divisions": self._divisions}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from a `state`."""
        self._best = state["best"]
        self._waited, self._divisions = int(state["waited"]), int(state["divisions"])

    def _divided(self, epoch: int) -> int:
        """How often the rate was divided by 10 before `epoch`."""
        match self._optim.schedule:
            case "steps":
                return epoch // self._optim.step_epochs
            case "multistep":
                return sum(milestone <= epoch for milestone in self._optim.milestones)
            case "plateau":
                return self._divisions
        return 0


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for every parameter from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate

"""The optimiser and the learning rate of each step."""

from math import cos, inf, pi
from typing import Any

import torch

from blvnet import BLVNetTAM
from pipeline.config import Optim

_LEAST_FALL = 1e-4


def sgd(model: BLVNetTAM, optim: Optim, device: torch.device) -> torch.optim.SGD:
    """The paper's optimiser (section 4.1): SGD with Nesterov momentum.

    There are four groups whatever the settings, so that a checkpoint's momenta fit when these change: the weights of
    convolutions and TAMs, and that of the classifier; then norms' scales and biases, which `decay_norms` may spare the
    decay, and the classifier's bias. All momenta are in this order, as in older checkpoints, which have two groups.
    """
    parameters = list(model.parameters())
    head = {id(parameter) for parameter in model.classifier.parameters()}
    vectors_decay = optim.weight_decay if optim.decay_norms else 0.0
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in parameters if (p.ndim == 1) == vectors and (id(p) in head) == classifier],
            "weight_decay": vectors_decay if vectors else optim.weight_decay,
            "times": optim.classifier_lr if classifier else 1.0,
        }
        for vectors in (False, True)
        for classifier in (False, True)
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=optim.lr,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        fused=device.type == "cuda",
    )
    lay_out_momenta(optimizer, optim, device)
    return optimizer


def lay_out_momenta(optimizer: torch.optim.Optimizer, optim: Optim, device: torch.device) -> None:
    """Let momenta lie in memory as their weights do, and on a GPU be there before the first step.

    A fused optimiser takes no others: read from a checkpoint and sent to other ranks, they have the order of their
    dimensions. And a fused first step that is skipped would leave them as the memory happens to be.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            kept = optimizer.state.get(parameter, {})
            momentum = kept.get("momentum_buffer")
            if momentum is not None:
                kept["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
            elif device.type == "cuda" and optim.momentum:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


class Schedule:
    """The learning rate over a run; its state is what a plateau was decided by."""

    def __init__(self, optim: Optim, repeats: int = 1) -> None:
        self._optim, self._repeats = optim, repeats
        self._best = -inf
        self._waited = 0
        self._divisions = 0

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """The rate for step `step` of the `steps` in `epoch`, scaled linearly with the clips of a step."""
        optim = self._optim
        rate = optim.lr * optim.global_batch * self._repeats / optim.lr_batch
        done = epoch + (step + 1) / steps
        match optim.schedule:
            case "cosine":
                rate *= self._cosine(epoch / optim.epochs)
            case "cosine_by_step":
                fallen = epoch + step / steps - optim.warmup_epochs
                rate *= self._cosine(fallen / (optim.epochs - optim.warmup_epochs)) if fallen > 0 else 1.0
            case _:
                rate *= 0.1 ** self._divided(epoch)
        if done < optim.warmup_epochs:
            rate *= done / optim.warmup_epochs
        return rate

    def evaluated(self, score: float, loss: float) -> None:
        """Note the loss of a validation, and its top-1 or mean average precision; every rank must be told the same.

        A loss is better that has fallen by a ten-thousandth, as in torch's `ReduceLROnPlateau`.
        """
        if self._optim.plateau_of == "loss":
            merit, needed = -loss, self._best * (1 - _LEAST_FALL)
        else:
            merit, needed = score, self._best
        if merit > needed:
            self._best, self._waited = merit, 0
        else:
            self._waited += 1
        if self._waited >= self._optim.patience:  # more, where a run goes on with less patience
            self._waited = 0
            self._divisions += 1

    def state(self) -> dict[str, Any]:
        """What the evaluations so far have led to, to be saved."""
        return {
            "of": self._optim.plateau_of,
            "best": self._best,
            "waited": self._waited,
            "divisions": self._divisions,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`. A plateau of something else than before begins anew, with its divisions."""
        self._divisions = int(state["divisions"])
        if state.get("of", "top1") == self._optim.plateau_of:
            self._best, self._waited = state["best"], int(state["waited"])

    def _cosine(self, done: float) -> float:
        """The share of the rate when the share `done` of the falling is done."""
        end = self._optim.lr_end
        return end + (1 - end) * 0.5 * (1 + cos(pi * done))

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
    """Use `rate` from now on, times what each group is given."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["times"]

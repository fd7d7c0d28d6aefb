"""Which form of the temporal aggregation is the fastest on a GPU, by a trial of each on the network's own sizes."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from blvnet.model import BLVNetTAM
from blvnet.tam import FORMS, Form, TemporalAggregation, form_for

_ROUNDS, _CALLS = 3, 5


def set_form(model: BLVNetTAM, form: Form | None) -> None:
    """Let every aggregation of `model` blend so on a GPU."""
    for module in model.modules():
        if isinstance(module, TemporalAggregation):
            module.form = form


def fastest(
    seconds: Callable[[Form], float], forms: Sequence[Form] = FORMS
) -> tuple[Form, dict[Form, float]]:
    """The form that takes the fewest `seconds`, of equals the first; and what each took.

    One that fails here (a compiler is missing, a device is not known to it) takes no part; where all do, it is "sum",
    which needs nothing.
    """
    taken: dict[Form, float] = {}
    for form in forms:
        try:
            taken[form] = seconds(form)
        except Exception:  # of a compiler, a driver, a library: whatever is not there
            continue
    return min(taken, key=lambda form: taken[form], default="sum"), taken


def trial(
    model: BLVNetTAM,
    clips: int,
    size: int,
    dtype: torch.dtype,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Callable[[Form], float]:
    """What a form takes for all blends of a training step on `clips` clips of `size` pixels, forward and backward.

    The activations are of `dtype`, and the step runs in `autocast`. The model is as before after it. Raises
    RuntimeError for a form that is not to be had, in place of which another would blend.
    """
    device = model.classifier.weight.device

    def seconds(form: Form) -> float:
        total = 0.0
        for module, blend, side, frames in model.backbone.aggregations(size, model.num_frames):
            channels = module.weight.shape[0]
            shape = (clips * frames, channels, side, side)
            x = torch.ones(shape, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
            if form_for(x, form) != form:
                raise RuntimeError(f"{form} is not to be had here")
            before, module.form = module.form, form
            try:
                total += _seconds(blend, x.requires_grad_(), module.weight, frames, autocast)
            finally:
                module.form = before
        return total

    return seconds


def _seconds(
    blend: Callable[[Tensor, int], Tensor | tuple[Tensor, Tensor]],
    x: Tensor,
    weight: Tensor,
    frames: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> float:
    def call() -> None:
        with autocast():
            out = blend(x, frames)
        outs = (out,) if isinstance(out, Tensor) else out
        torch.autograd.grad(outs, (x, weight), outs)

    for _ in range(2):  # the first one compiles
        call()
    rounds = []
    for _ in range(_ROUNDS):
        start = _now(x.device)
        for _ in range(_CALLS):
            call()
        rounds.append((_now(x.device) - start) / _CALLS)
    return min(rounds)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""Mixed precision: one object serves bf16, fp16 (with loss scaling), tf32 (see `pipeline.ranks.devices`) and fp32."""

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import clip_grad_norm_, get_total_norm

_DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "tf32": torch.float32,
    "fp32": torch.float32,
}


class Precision:
    """`name` is bf16, fp16, tf32 or fp32; `dtype` is that of activations. Weights and optimiser state are float32."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.dtype = _DTYPES[name]
        self._device = device.type
        # A disabled scaler passes everything through, so the training step has one form.
        self.scaler = GradScaler(self._device, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        """The context that the forward pass runs in."""
        return torch.autocast(self._device, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate `loss`, which adds to the gradients."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(
        self, optimizer: torch.optim.Optimizer, clip_norm: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Update the weights from the gradients, unless one of them is not finite; they are gone after it.

        Gradients whose norm is more than `clip_norm` are scaled down to it first. Returns whether they were unfit and
        their norm before that, scalars on the device, the same on every rank, since the gradients are averages over the
        ranks by then.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.scaler.unscale_(optimizer)
        if clip_norm is not None:
            norm = clip_grad_norm_(parameters, clip_norm)
        else:
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        unfit = ~torch.isfinite(norm)
        if self.scaler.is_enabled():  # finds out for itself
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            _step_unless(unfit, optimizer)
        optimizer.zero_grad(set_to_none=True)
        return unfit, norm


def _step_unless(unfit: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()`, or no change of weights and momenta.

    On a GPU the fused optimiser decides, by the flag that loss scaling gives it, and nothing waits for the device.
    """
    if unfit.device.type == "cpu":
        if not unfit:
            optimizer.step()
        return
    optimizer.found_inf = unfit.float()  # type: ignore[attr-defined]
    optimizer.step()
    del optimizer.found_inf  # type: ignore[attr-defined]

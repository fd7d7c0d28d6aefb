"""Mixed precision: one object serves bf16, fp16 (with loss scaling) and fp32."""

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import clip_grad_norm_

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Precision:
    """`name` is bf16, fp16 or fp32. Weights and optimiser state are float32 in all three."""

    def __init__(self, name: str, device: torch.device) -> None:
        self._dtype = _DTYPES[name]
        self._device = device.type
        # A disabled scaler passes everything through, so the training step has one form.
        self.scaler = GradScaler(self._device, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        """The context that the forward pass runs in."""
        return torch.autocast(self._device, dtype=self._dtype, enabled=self._dtype != torch.float32)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate `loss`, which adds to the gradients."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(self, optimizer: torch.optim.Optimizer, clip_norm: float | None = None) -> None:
        """Update the weights (skipped where fp16 gradients overflowed); the gradients are gone after it.

        Gradients whose norm is more than `clip_norm` are scaled down to it first.
        """
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)

"""Mixed precision: one object serves bf16, fp16 (with loss scaling) and fp32."""

import torch
from torch import Tensor
from torch.amp import GradScaler

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

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Back-propagate `loss` and update the weights (skipped where fp16 gradients overflowed)."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)

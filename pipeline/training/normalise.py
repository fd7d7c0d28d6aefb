"""From bytes to what the network takes: ImageNet's mean and standard deviation, on the device."""

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def coefficients(device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Scale and shift, float32 (3, 1, 1), that take pixels of 0 to 255 to what the network was trained on."""
    mean, std = torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)
    return (1 / (255 * std)).view(3, 1, 1), (-mean / std).view(3, 1, 1)


class Normaliser:
    """Maps uint8 clips (batch, frames, 3, height, width) to float32 of the same shape and memory order."""

    def __init__(self, device: torch.device) -> None:
        self._scale, self._shift = coefficients(device)
        self._device = device

    def __call__(self, clips: Tensor) -> Tensor:
        return clips.to(self._device, non_blocking=True).float().mul_(self._scale).add_(self._shift)

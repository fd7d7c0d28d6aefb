"""From bytes to what the network takes, on the device: ImageNet's mean and standard deviation, or TSN's for flow."""

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
FLOW_MEAN = 0.5
FLOW_STD = sum(STD) / 3


def mean_and_std(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each channel: ImageNet's of the three of colour, a half and the mean of ImageNet's of those of flow."""
    if channels == len(MEAN):
        return MEAN, STD
    return (FLOW_MEAN,) * channels, (FLOW_STD,) * channels


def coefficients(channels: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Scale and shift, float32 (channels, 1, 1), that take pixels of 0 to 255 to what the network was trained on."""
    mean, std = (torch.tensor(values, device=device) for values in mean_and_std(channels))
    return (1 / (255 * std)).view(-1, 1, 1), (-mean / std).view(-1, 1, 1)


class Normaliser:
    """Maps uint8 clips (batch, frames, channels, height, width) to float32 of the same shape and memory order."""

    def __init__(self, device: torch.device) -> None:
        self._of_channels: dict[int, tuple[Tensor, Tensor]] = {}
        self._device = device

    def __call__(self, clips: Tensor) -> Tensor:
        channels = clips.shape[-3]
        if channels not in self._of_channels:
            self._of_channels[channels] = coefficients(channels, self._device)
        scale, shift = self._of_channels[channels]
        return clips.to(self._device, non_blocking=True).float().mul_(scale).add_(shift)

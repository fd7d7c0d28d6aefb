"""The networks that bLVNet-TAM is compared with, on torchvision's ResNet-50: TSN, TSM, and the image network itself.

TSN (Wang et al., 2016) classifies every frame and averages the logits. TSM (Lin et al., 2019, section 3.2) is that with
a shift in front of each block's residual branch: an eighth of the channels comes from the frame after, an eighth from
the frame before, zero outside the clip.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet50

SHIFTED = 8
"""One channel of so many moves each way."""


class TemporalShift(nn.Module):
    """Frames (clips * frames, channels, height, width) with a part of the channels from the frames beside them."""

    def __init__(self, inner: nn.Module, num_frames: int) -> None:
        super().__init__()
        self.inner, self.num_frames = inner, num_frames

    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.num_frames))
        part = x.shape[1] // SHIFTED
        after = F.pad(clips[:, 1:, :part], (0, 0, 0, 0, 0, 0, 0, 1))
        before = F.pad(clips[:, :-1, part : 2 * part], (0, 0, 0, 0, 0, 0, 1, 0))
        shifted = (
            clips.clone()
        )  # keeps the channels-last memory, which putting three parts together would not
        shifted[:, :, :part], shifted[:, :, part : 2 * part] = after, before
        return self.inner(shifted.flatten(0, 1))


class FrameNetwork(nn.Module):
    """ResNet-50 on each frame, logits averaged over the clip; `shift`: with TSM's shift."""

    def __init__(self, num_frames: int, num_classes: int, shift: bool) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.frames = resnet50(weights=None, num_classes=num_classes)
        if shift:
            for stage in (self.frames.layer1, self.frames.layer2, self.frames.layer3, self.frames.layer4):
                for block in stage:
                    block.conv1 = TemporalShift(block.conv1, num_frames)
        self.to(memory_format=torch.channels_last)

    def forward(self, clips: Tensor) -> Tensor:
        """Float (clips, frames, 3, height, width) to logits (clips, classes)."""
        frames = clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.frames(frames).unflatten(0, (-1, self.num_frames)).mean(1)


def tsn(num_frames: int, num_classes: int = 174) -> FrameNetwork:
    """TSN-ResNet-50."""
    return FrameNetwork(num_frames, num_classes, shift=False)


def tsm(num_frames: int, num_classes: int = 174) -> FrameNetwork:
    """TSM-ResNet-50."""
    return FrameNetwork(num_frames, num_classes, shift=True)

"""The whole classifier: clips in, logits out."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from blvnet.backbone import BLOCKS, STAGE_WIDTHS, STEM_WIDTH, Backbone


class BLVNetTAM(nn.Module):
    """Big-little video network with temporal aggregation (Fan et al., "More Is Less", NeurIPS 2019).

    `depth` is one of 26, 50, 101, 152; `num_frames` (even) the frames of a clip, so that an "f8x2" model has 16; with
    1 it is the big-little network of single images (Chen et al., "Big-Little Net", ICLR 2019), without any TAM;
    `alpha` divides the little branch's width, `beta` its depth; `blending_frames` is the reach of each TAM.
    The weights do not depend on `num_frames`. The memory is channels-last throughout, whatever the input's.
    A value that cannot be used raises ValueError.
    """

    def __init__(
        self,
        depth: int = 50,
        num_frames: int = 16,
        num_classes: int = 174,
        alpha: int = 2,
        beta: int = 4,
        blending_frames: int = 3,
        dropout: float = 0.5,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth is {depth}; it must be one of {', '.join(map(str, BLOCKS))}")
        if num_frames < 1 or (num_frames % 2 and num_frames != 1):
            raise ValueError(
                f"num_frames is {num_frames}; it must be even (big-little pairs), or 1 for a network of images"
            )
        if alpha < 1 or STEM_WIDTH % alpha:
            raise ValueError(f"alpha is {alpha}; it must divide {STEM_WIDTH}")
        for name, value in (
            ("num_classes", num_classes),
            ("beta", beta),
            ("blending_frames", blending_frames),
            ("in_channels", in_channels),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
        self.num_frames = num_frames
        self.in_channels = in_channels
        self.backbone = Backbone(depth, alpha, beta, blending_frames if num_frames > 1 else 0, in_channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(STAGE_WIDTHS[-1], num_classes)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips, float (batch, num_frames, in_channels, H, W), to logits (batch, num_classes).

        The logits are in the weights' own format, under autocast too.
        """
        if clips.dim() != 5 or clips.shape[1:3] != (self.num_frames, self.in_channels):
            raise ValueError(
                f"clips are {tuple(clips.shape)}; this network takes "
                f"(batch, {self.num_frames}, {self.in_channels}, height, width)"
            )
        frames = clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.backbone(frames, self.num_frames)
        # Not in autocast's format: logits in bf16 would tie for the first place in one of a hundred clips.
        with _in_weights_format(features.device.type):
            pooled = features.mean((2, 3), dtype=self.classifier.weight.dtype)
            # The reference classifies each pair and averages the logits; the classifier is affine, so that
            # averaging the pairs (after the dropout of each) before it is the same, with one row a clip.
            pairs = self.dropout(pooled).unflatten(0, (-1, max(1, self.num_frames // 2)))
            logits: Tensor = self.classifier(pairs.mean(1))
        return logits


def image_model(depth: int = 50, num_classes: int = 1000, **arguments: Any) -> BLVNetTAM:
    """The network of single images whose weights start a video network; it takes (batch, 1, channels, H, W).

    `arguments` are others of `BLVNetTAM`. Its tensors have the names and shapes that they have in the video network.
    """
    return BLVNetTAM(depth, num_frames=1, num_classes=num_classes, **arguments)


def _in_weights_format(device: str) -> AbstractContextManager[object]:
    """The context in which autocast rounds nothing; the device `meta`, which counts operations, knows no autocast."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)

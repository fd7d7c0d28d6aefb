"""The big-little residual network: odd frames in half resolution and full depth, even frames the other way round.

Everything here takes and gives folded frames, (batch * frames, channels, height, width). After the stem there is
one result for each pair of frames; it stands for both.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blvnet.tam import TemporalAggregation

BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (4, 8, 18, 3), 152: (5, 12, 30, 3)}
"""Bottlenecks in each stage, by depth (26 is the demo's)."""

STEM_WIDTH = 64
STAGE_WIDTHS = (256, 512, 1024, 2048)


class OneFrame(nn.Module):
    """What stands for a TAM in a network of single images: there is nothing to blend, and both branches see it all."""

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        return x

    def split(self, x: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        return x, x

    def split_pairs(self, pairs: Tensor, num_pairs: int) -> tuple[Tensor, Tensor]:
        return pairs, pairs


def aggregation(channels: int, blending_frames: int) -> TemporalAggregation | OneFrame:
    """The blend over `blending_frames` frames, or none for 0."""
    return TemporalAggregation(channels, blending_frames) if blending_frames else OneFrame()


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the size (over the stride), and its batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


class Bottleneck(nn.Module):
    """1x1 to a quarter of the width, 3x3 (the stride is here), 1x1 to the full width; plus the shortcut.

    The shortcut is a 3x3 average pool where there is a stride, then a projection where the width changes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, final_relu: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.final_relu = final_relu
        self.reduce = ConvNorm(in_channels, out_channels // 4, 1)
        self.spatial = ConvNorm(out_channels // 4, out_channels // 4, 3, stride)
        self.expand = ConvNorm(out_channels // 4, out_channels, 1)
        self.project = ConvNorm(in_channels, out_channels, 1) if in_channels != out_channels else None
        nn.init.zeros_(self.expand.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self._add(self._residual(x), self._shortcut(x))

    def _residual(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.reduce(x))
        x = torch.relu_(self.spatial(x))
        out: Tensor = self.expand(x)
        return out

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.avg_pool2d(x, 3, self.stride, padding=1)
        return x if self.project is None else self.project(x)

    def _add(self, residual: Tensor, shortcut: Tensor) -> Tensor:
        out = residual.add_(shortcut)
        return torch.relu_(out) if self.final_relu else out


class TemporalBottleneck(Bottleneck):
    """A bottleneck with a TAM in front. An identity shortcut passes by the TAM, a changed one comes after it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, blending_frames: int) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.tam = aggregation(in_channels, blending_frames)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:  # type: ignore[override]
        blended = self.tam(x, num_frames)
        identity = self.project is None and self.stride == 1
        return self._add(self._residual(blended), x if identity else self._shortcut(blended))


class Stem(nn.Module):
    """All frames to one quarter of the size; then a first big-little step. (B * T, C, H, W) -> (B * T / 2, 64, ...)."""

    def __init__(self, in_channels: int, alpha: int, blending_frames: int) -> None:
        super().__init__()
        width, narrow = STEM_WIDTH, STEM_WIDTH // alpha
        self.frames = ConvNorm(in_channels, width, 7, stride=2)
        self.tam = aggregation(width, blending_frames)
        self.big = ConvNorm(width, width, 3, stride=2)
        self.little = nn.ModuleList(
            [ConvNorm(width, narrow, 3), ConvNorm(narrow, narrow, 3, stride=2), ConvNorm(narrow, width, 1)]
        )
        self.merge = ConvNorm(width, width, 1)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        little, big = self.tam.split(torch.relu_(self.frames(x)), num_frames)
        big = self.big(big)
        narrow, strided, widen = self.little
        little = torch.relu_(narrow(little))
        little = torch.relu_(strided(little))
        little = widen(little)
        return torch.relu_(self.merge(torch.relu_(little.add_(big))))


class FusionStage(nn.Module):
    """TAM, the big and the little branch, and the bottleneck that fuses them: one result a pair in, one out."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        blocks: int,
        stride: int,
        alpha: int,
        beta: int,
        blending_frames: int,
    ) -> None:
        super().__init__()
        self.tam = aggregation(in_channels, blending_frames)
        big = blocks - 1
        self.big = nn.Sequential(
            *(
                Bottleneck(
                    width if i else in_channels,
                    width,
                    stride=1 if i else 2,
                    final_relu=big == 1 or i < big - 1,
                )
                for i in range(big)
            )
        )
        narrow = width // alpha
        self.little = nn.Sequential(
            *(Bottleneck(narrow if i else in_channels, narrow) for i in range(max(1, blocks // beta - 1)))
        )
        self.widen = ConvNorm(narrow, width, 1)
        self.fusion = Bottleneck(width, width, stride)

    def forward(self, pairs: Tensor, num_pairs: int) -> Tensor:
        little, big = self.tam.split_pairs(pairs, num_pairs)
        big = self.big(big)
        little = self.widen(self.little(little))
        out: Tensor = self.fusion(torch.relu_(add_upsampled(little, big)))
        return out


def add_upsampled(little: Tensor, big: Tensor) -> Tensor:
    """Add `big`, upsampled to the size of `little` by repeating pixels (nearest), to `little` in place."""
    return little.add_(F.interpolate(big, size=little.shape[-2:], mode="nearest"))


class Backbone(nn.Module):
    """Folded frames (B * T, C, H, W) to features (B * T / 2, 2048, H / 32, W / 32), one for each pair of frames.

    Without blending (0 frames) each frame is an image of its own, and has its own features.
    """

    def __init__(self, depth: int, alpha: int, beta: int, blending_frames: int, in_channels: int) -> None:
        super().__init__()
        blocks = BLOCKS[depth]
        self.stem = Stem(in_channels, alpha, blending_frames)
        widths = (STEM_WIDTH, *STAGE_WIDTHS)
        self.stages = nn.ModuleList(
            FusionStage(*io, count, stride, alpha, beta, blending_frames)
            for io, count, stride in zip(pairwise(widths[:4]), blocks[:3], (2, 2, 1), strict=True)
        )
        self.top = nn.ModuleList(
            TemporalBottleneck(widths[4] if i else widths[3], widths[4], 1 if i else 2, blending_frames)
            for i in range(blocks[3])
        )

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        num_pairs = num_frames // 2
        x = self.stem(x, num_frames)
        for stage in self.stages:
            x = stage(x, num_pairs)
        for block in self.top:
            x = block(x, num_pairs)
        return x

    def aggregations(self, size: int, num_frames: int) -> list["Aggregation"]:
        """Every blend of a forward pass on frames of `size` x `size`, in its order; none in a network of images."""
        pairs, side = num_frames // 2, -(-size // 2)
        stem = self.stem.tam
        if isinstance(stem, OneFrame):
            return []
        found: list[Aggregation] = [(stem, stem.split, side, num_frames)]
        side = -(-side // 2)
        for stage in self.stages:
            assert isinstance(stage, FusionStage)
            assert isinstance(stage.tam, TemporalAggregation)
            found.append((stage.tam, stage.tam.split_pairs, side, pairs))
            side = -(-side // stage.fusion.stride)
        for block in self.top:
            assert isinstance(block, TemporalBottleneck)
            assert isinstance(block.tam, TemporalAggregation)
            found.append((block.tam, block.tam, side, pairs))
            side = -(-side // block.stride)
        return found


Aggregation = tuple[TemporalAggregation, Callable[[Tensor, int], Tensor | tuple[Tensor, Tensor]], int, int]
"""A module, the way it is called, and the height and width and the number of frames a clip that it is called with."""

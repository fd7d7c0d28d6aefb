"""bLVNet-TAM as one would first write it: eager PyTorch that follows the paper's description step by step.

The yardstick of `benchmarks/step.py`, and an independent second form for the tests. It shares no code with
`blvnet`, but its tensors have the same names, so that it loads the same weights. Big and little frames are gathered
by index lists; each result is scattered to both frames of its pair in a tensor of zeros; a TAM adds shifted copies.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (4, 8, 18, 3), 152: (5, 12, 30, 3)}


class ConvNorm(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class TAM(nn.Module):
    """Shifted copies of the clip, padded with zeros, stacked, weighted and summed."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, taps))

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        clips = x.unflatten(0, (-1, num_frames))
        taps = self.weight.shape[1]
        copies = []
        for i in range(taps):
            shift = i - taps // 2
            if shift < 0:
                copies.append(F.pad(clips[:, :shift], (0, 0, 0, 0, 0, 0, min(-shift, num_frames), 0)))
            elif shift > 0:
                copies.append(F.pad(clips[:, shift:], (0, 0, 0, 0, 0, 0, 0, min(shift, num_frames))))
            else:
                copies.append(clips)
        stacked = torch.stack(copies)
        weighted = stacked * self.weight.t()[:, None, None, :, None, None]
        return F.relu(weighted.sum(0), inplace=True).flatten(0, 1)


class Block(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, final_relu: bool = True, taps: int = 0
    ) -> None:
        super().__init__()
        self.stride, self.final_relu = stride, final_relu
        self.reduce = ConvNorm(in_channels, out_channels // 4, 1)
        self.spatial = ConvNorm(out_channels // 4, out_channels // 4, 3, stride)
        self.expand = ConvNorm(out_channels // 4, out_channels, 1)
        self.project = ConvNorm(in_channels, out_channels, 1) if in_channels != out_channels else None
        self.tam = TAM(in_channels, taps) if taps else None

    def forward(self, x: Tensor, num_frames: int = 0) -> Tensor:
        shortcut = x
        if self.tam is not None:
            x = self.tam(x, num_frames)
        if self.stride > 1 or self.project is not None:
            shortcut = x
            if self.stride > 1:
                shortcut = F.avg_pool2d(shortcut, 3, self.stride, padding=1)
            if self.project is not None:
                shortcut = self.project(shortcut)
        out = F.relu(self.reduce(x), inplace=True)
        out = F.relu(self.spatial(out), inplace=True)
        out = self.expand(out)
        out += shortcut
        return F.relu(out, inplace=True) if self.final_relu else out


def big_frames(x: Tensor, num_frames: int) -> list[int]:
    return [i for i in range(x.shape[0]) if i % num_frames % 2 == 1]


def little_frames(x: Tensor, num_frames: int) -> list[int]:
    return [i for i in range(x.shape[0]) if i % num_frames % 2 == 0]


def on_both_frames(pairs: Tensor) -> Tensor:
    """Each pair's result on both of its frames, written into zeros."""
    frames = torch.zeros(2 * pairs.shape[0], *pairs.shape[1:], dtype=pairs.dtype, device=pairs.device)
    frames[torch.arange(0, frames.shape[0], 2)] = pairs
    frames[torch.arange(1, frames.shape[0], 2)] = pairs
    return frames


class Stem(nn.Module):
    def __init__(self, in_channels: int, alpha: int, taps: int) -> None:
        super().__init__()
        self.frames = ConvNorm(in_channels, 64, 7, 2)
        self.tam = TAM(64, taps)
        self.big = ConvNorm(64, 64, 3, 2)
        self.little = nn.ModuleList(
            [
                ConvNorm(64, 64 // alpha, 3),
                ConvNorm(64 // alpha, 64 // alpha, 3, 2),
                ConvNorm(64 // alpha, 64, 1),
            ]
        )
        self.merge = ConvNorm(64, 64, 1)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        x = F.relu(self.frames(x), inplace=True)
        x = self.tam(x, num_frames)
        big = self.big(x[big_frames(x, num_frames)])
        little = F.relu(self.little[0](x[little_frames(x, num_frames)]), inplace=True)
        little = self.little[2](F.relu(self.little[1](little), inplace=True))
        merged = F.relu(self.merge(F.relu(big + little, inplace=True)), inplace=True)
        return on_both_frames(merged)


class Stage(nn.Module):
    def __init__(
        self, in_channels: int, width: int, blocks: int, stride: int, alpha: int, beta: int, taps: int
    ) -> None:
        super().__init__()
        self.tam = TAM(in_channels, taps)
        last = blocks - 2
        self.big = nn.Sequential(
            Block(in_channels, width, 2),
            *(Block(width, width, final_relu=i < last) for i in range(1, blocks - 1)),
        )
        narrow = width // alpha
        self.little = nn.Sequential(
            Block(in_channels, narrow), *(Block(narrow, narrow) for _ in range(1, max(1, blocks // beta - 1)))
        )
        self.widen = ConvNorm(narrow, width, 1)
        self.fusion = Block(width, width, stride)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        x = self.tam(x, num_frames)
        big = self.big(x[big_frames(x, num_frames)])
        little = self.widen(self.little(x[little_frames(x, num_frames)]))
        big = F.interpolate(big, size=little.shape[-2:], mode="nearest")
        return on_both_frames(self.fusion(F.relu(big + little, inplace=True)))


class Backbone(nn.Module):
    def __init__(self, depth: int, alpha: int, beta: int, taps: int, in_channels: int) -> None:
        super().__init__()
        blocks = BLOCKS[depth]
        self.stem = Stem(in_channels, alpha, taps)
        self.stages = nn.ModuleList(
            [
                Stage(64, 256, blocks[0], 2, alpha, beta, taps),
                Stage(256, 512, blocks[1], 2, alpha, beta, taps),
                Stage(512, 1024, blocks[2], 1, alpha, beta, taps),
            ]
        )
        self.top = nn.ModuleList(
            [Block(1024, 2048, 2, taps=taps), *(Block(2048, 2048, taps=taps) for _ in range(blocks[3] - 1))]
        )

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        x = self.stem(x, num_frames)
        for stage in self.stages:
            x = stage(x, num_frames)
        x = x[little_frames(x, num_frames)]
        for block in self.top:
            x = block(x, num_frames // 2)
        return x


class PlainBLVNetTAM(nn.Module):
    """The same network and the same names of tensors as `blvnet.BLVNetTAM`, written plainly."""

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
        self.num_frames = num_frames
        self.backbone = Backbone(depth, alpha, beta, blending_frames, in_channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2048, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = self.backbone(clips.flatten(0, 1), self.num_frames)
        features = F.adaptive_avg_pool2d(features, 1).flatten(1)
        logits = self.classifier(self.dropout(features))
        return logits.unflatten(0, (-1, self.num_frames // 2)).mean(1)

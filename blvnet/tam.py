"""The temporal aggregation module (TAM): every frame becomes a per-channel blend of its neighbours."""

import functools
import math
import types
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blvnet import tam_op

Form = Literal["kernel", "compiled", "convolution", "sum"]
FORMS: tuple[Form, ...] = ("kernel", "compiled", "convolution")
"""How a GPU may blend: the kernels of `blvnet.tam_op`, a sum that torch compiles, a depthwise convolution."""


class TemporalAggregation(nn.Module):
    """Output at time t is ReLU(sum_i w_i * x[t + i - r // 2]), zero outside the clip, with r weights a channel.

    All inputs and outputs are folded frames, (batch * frames, channels, height, width), best in channels-last
    memory: then nothing is copied but the output itself.

    A big-little network sends even frames one way and odd frames the other, and its results stand for a pair
    of frames each. So besides the plain form there are two that give the even and the odd outputs apart:
    `split` from all frames, `split_pairs` from one result a pair, without ever writing it down twice.
    """

    def __init__(self, channels: int, blending_frames: int = 3) -> None:
        super().__init__()
        self.blending_frames = blending_frames
        self.weight = nn.Parameter(torch.empty(channels, blending_frames))
        # Kaiming, fan-out, of a depthwise convolution: its tensor is (channels, 1, 1, 1).
        nn.init.normal_(self.weight, std=math.sqrt(2 / channels))

    form: Form | None = None
    """How it blends on a GPU; None: by the kernels, where they are to be had."""

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Blend all of the clip's `num_frames` frames; the shape stays."""
        form = form_for(x, self.form)
        if form == "kernel":
            return tam_op.blended(x, self.weight, num_frames)
        return blend(x, self.weight, -(self.blending_frames // 2), num_frames, form=form)

    def split(self, x: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """The even and the odd outputs, each (batch * num_frames / 2, C, H, W), of all `num_frames` frames."""
        form = form_for(x, self.form)
        if form == "kernel":
            return tam_op.blended_apart(x, self.weight, num_frames, paired=False)
        first = -(self.blending_frames // 2)
        return (
            blend(x, self.weight, first, num_frames, stride=2, form=form),
            blend(x, self.weight, first + 1, num_frames, stride=2, form=form),
        )

    def split_pairs(self, pairs: Tensor, num_pairs: int) -> tuple[Tensor, Tensor]:
        """The even and the odd outputs of the clip in which frames 2i and 2i + 1 are both `pairs` i."""
        form = form_for(pairs, self.form)
        if form == "kernel":
            return tam_op.blended_apart(pairs, self.weight, 2 * num_pairs, paired=True)
        first = -(self.blending_frames // 2)
        even, even_first = _pair_weight(self.weight, first)
        odd, odd_first = _pair_weight(self.weight, first + 1)
        return (
            blend(pairs, even, even_first, num_pairs, form=form),
            blend(pairs, odd, odd_first, num_pairs, form=form),
        )


def form_for(x: Tensor, wanted: Form | None) -> Form:
    """How frames `x` are blended: as `wanted` on a GPU; elsewhere, and in what is exported, without kernels of ours."""
    if torch.compiler.is_exporting():
        return "sum"  # which needs nothing but torch, wherever it is loaded
    if x.device.type == "cpu":
        # A compiler fuses the sum of shifted views into one pass; where none is at work, a convolution is that pass.
        return "sum" if torch.compiler.is_compiling() else "convolution"
    if x.device.type != "cuda":
        return "sum"
    if wanted is None or wanted == "kernel":
        return "kernel" if tam_op.AVAILABLE and x.dtype in tam_op.DTYPES else "sum"
    return wanted


def _pair_weight(weight: Tensor, first: int) -> tuple[Tensor, int]:
    """Weights on frames from `first` on, summed into weights on pairs; and the first pair."""
    before = first % 2
    after = (before + weight.shape[1]) % 2
    return F.pad(weight, (before, after)).reshape(weight.shape[0], -1, 2).sum(-1), first // 2


def blend(
    x: Tensor, weight: Tensor, first: int, num_frames: int, stride: int = 1, form: Form = "sum"
) -> Tensor:
    """ReLU(sum_k weight[:, k] * x[stride * i + first + k]) for each output frame i, zero outside the clip.

    `x` is (batch * num_frames, C, H, W), `weight` (C, taps); there are num_frames / stride outputs a clip. `form` is
    any but the kernel.
    """
    _, channels, height, width = x.shape
    frames_last = x.permute(0, 2, 3, 1).reshape(-1, num_frames, height, width, channels)
    if form == "convolution":
        out = blend_as_convolution(frames_last, weight, first, stride)
    elif form == "compiled" and not torch.compiler.is_compiling():
        out = _compiled_sum(first, stride, weight.shape[1])(frames_last, weight, first, stride)
    else:
        out = blend_as_sum(frames_last, weight, first, stride)
    return out.flatten(0, 1).permute(0, 3, 1, 2)


@functools.cache
def _compiled_sum(first: int, stride: int, taps: int) -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """`blend_as_sum`, compiled for these arguments alone.

    torch compiles one piece of code for a few kinds of arguments and then gives up: each of ours is a piece of its own.
    """
    own = types.FunctionType(blend_as_sum.__code__.replace(), blend_as_sum.__globals__)
    return cast(Callable[[Tensor, Tensor, int, int], Tensor], torch.compile(own))


def blend_as_sum(x: Tensor, weight: Tensor, first: int, stride: int) -> Tensor:
    """The blend of `x`, (batch, frames, H, W, C): views of one padded copy, weighted and added."""
    outputs = x.shape[1] // stride
    taps = weight.to(x.dtype).unbind(1)
    last = first + len(taps) - 1
    before, after = max(0, -first), max(0, last - stride + 1)
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, before, after))
    start = first + before
    views = [padded[:, start + k :: stride][:, :outputs] for k in range(len(taps))]
    out = views[0] * taps[0]
    for view, tap in zip(views[1:], taps[1:], strict=True):
        out = torch.addcmul(out, view, tap)
    return torch.relu_(out)


def blend_as_convolution(x: Tensor, weight: Tensor, first: int, stride: int) -> Tensor:
    """The same as one depthwise convolution.

    Frames in channels-last memory are also a channels-last picture, as high as the clip is long and H * W wide;
    the kernel runs along its height, lengthened by zeros until its middle is at the output frame.
    """
    batch, _, height, width, channels = x.shape
    reach = max(-first, first + weight.shape[1] - 1)
    kernel = F.pad(weight, (first + reach, reach - first - weight.shape[1] + 1))[:, None, :, None]
    picture = x.flatten(2, 3).permute(0, 3, 1, 2)
    out = F.conv2d(picture, kernel, stride=(stride, 1), padding=(reach, 0), groups=channels)
    # In place on the output itself: on a view of it, autograd would copy the gradient twice.
    return torch.relu_(out).permute(0, 2, 3, 1).reshape(batch, -1, height, width, channels)

"""The kernels of `blvnet.tam_kernel` as operators of torch: with gradients, under autocast, compiled and exported.

Frames are (clips * frames, channels, height, width) in channels-last memory; others are copied into it. Sums are
float32, and so is the weight's gradient until it takes the weight's format.
"""

import os
import shutil
import sysconfig
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

AVAILABLE = (
    find_spec("triton") is not None
    and bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))
    # Debian has another scheme by default, which triton passes by too.
    and Path(sysconfig.get_path("include", "posix_prefix"), "Python.h").exists()
)
"""Whether triton is installed, with the C compiler and Python's headers that it needs; it is not imported for that."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_ROWS, _COLUMNS = 16, 64
"""Pixels and channels of a program's tile: 128 bytes side by side, and eight values a thread."""


def blended(x: Tensor, weight: Tensor, num_frames: int) -> Tensor:
    """The blend of clips of `num_frames` frames; `weight` is (channels, taps)."""
    out: Tensor = blend(_as_autocast_has_it(x), weight, num_frames)
    return out


def blended_apart(x: Tensor, weight: Tensor, num_frames: int, paired: bool) -> tuple[Tensor, Tensor]:
    """Its even and its odd outputs; `paired`: each frame of `x` stands for two of the `num_frames`."""
    even, odd = split(_as_autocast_has_it(x), weight, num_frames, paired)
    return even, odd


def _as_autocast_has_it(x: Tensor) -> Tensor:
    """`x` in the format that a convolution would take it in; the weight keeps its own: nothing rounds it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


@torch.library.custom_op("blvnet::tam_blend", mutates_args=())
def blend(x: Tensor, weight: Tensor, num_frames: int) -> Tensor:
    """`blended`, without a thought of autocast."""
    (out,) = _run_forward(x, weight, num_frames, 1, False)
    return out


@torch.library.custom_op("blvnet::tam_split", mutates_args=())
def split(x: Tensor, weight: Tensor, num_frames: int, paired: bool) -> tuple[Tensor, Tensor]:
    """`blended_apart`, without a thought of autocast."""
    even, odd = _run_forward(x, weight, num_frames, 2, paired)
    return even, odd


@torch.library.custom_op("blvnet::tam_blend_backward", mutates_args=())
def blend_backward(
    gradient: Tensor, out: Tensor, x: Tensor, weight: Tensor, num_frames: int
) -> tuple[Tensor, Tensor]:
    """The gradients of `x` and, float32, of `weight`."""
    return _run_backward([gradient], [out], x, weight, num_frames, False)


@torch.library.custom_op("blvnet::tam_split_backward", mutates_args=())
def split_backward(
    even_gradient: Tensor,
    odd_gradient: Tensor,
    even: Tensor,
    odd: Tensor,
    x: Tensor,
    weight: Tensor,
    num_frames: int,
    paired: bool,
) -> tuple[Tensor, Tensor]:
    """The same, of both outputs."""
    return _run_backward([even_gradient, odd_gradient], [even, odd], x, weight, num_frames, paired)


def _run_forward(x: Tensor, weight: Tensor, num_frames: int, streams: int, paired: bool) -> list[Tensor]:
    from blvnet import tam_kernel

    x, weight = _dense(x), weight.contiguous()
    outs = [_output(x, streams, paired) for _ in range(streams)]
    if x.numel():
        pixels, channels, programs, sizes = _tiling(x, weight, num_frames, streams, paired)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            tam_kernel.blend_forward[(programs,)](x, weight, outs[0], outs[-1], pixels, channels, **sizes)
    return outs


def _run_backward(
    gradients: Sequence[Tensor],
    outs: Sequence[Tensor],
    x: Tensor,
    weight: Tensor,
    num_frames: int,
    paired: bool,
) -> tuple[Tensor, Tensor]:
    from blvnet import tam_kernel

    x, weight = _dense(x), weight.contiguous()
    gradients, outs = [_dense(gradient) for gradient in gradients], [_dense(out) for out in outs]
    x_gradient = torch.empty_like(x, memory_format=torch.channels_last)
    if not x.numel():
        return x_gradient, torch.zeros_like(weight, dtype=torch.float32)
    pixels, channels, programs, sizes = _tiling(x, weight, num_frames, len(outs), paired)
    taps, across = weight.shape[1], -(-channels // sizes["COLUMNS"])
    # A sum a program, added up in their order: the same every time, as atomic additions would not be.
    sums = x.new_empty(programs // across, taps, channels, dtype=torch.float32)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        tam_kernel.blend_backward[(programs,)](
            x,
            weight,
            outs[0],
            outs[-1],
            gradients[0],
            gradients[-1],
            x_gradient,
            sums,
            pixels,
            channels,
            **sizes,
        )
    return x_gradient, sums.sum(0).t().contiguous()


def _tiling(
    x: Tensor, weight: Tensor, num_frames: int, streams: int, paired: bool
) -> tuple[int, int, int, dict[str, Any]]:
    """Pixels, channels, programs, and what the kernels are compiled for.

    Raises ValueError where the other forms would: a kernel reads and writes whatever it is told to.
    """
    frames, channels, height, width = x.shape
    held = num_frames // 2 if paired else num_frames
    if num_frames % streams or frames % held or weight.shape[0] != channels:
        raise ValueError(
            f"{frames} frames of {channels} channels are no whole clips of {held} for weights of {weight.shape[0]} "
            f"channels in {streams} streams"
        )
    clips, pixels = frames // held, height * width
    columns = min(_COLUMNS, 1 << (channels - 1).bit_length())
    rows = _ROWS * (_COLUMNS // columns)
    programs = clips * -(-pixels // rows) * -(-channels // columns)
    sizes = {"FRAMES": num_frames, "TAPS": weight.shape[1], "STREAMS": streams, "PAIRED": paired}
    return pixels, channels, programs, {**sizes, "ROWS": rows, "COLUMNS": columns}


def _dense(frames: Tensor) -> Tensor:
    return frames.contiguous(memory_format=torch.channels_last)


def _output(x: Tensor, streams: int, paired: bool) -> Tensor:
    """Room for one of so many outputs."""
    shape = (x.shape[0] * (2 if paired else 1) // streams, *x.shape[1:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


@blend.register_fake
def _(x: Tensor, weight: Tensor, num_frames: int) -> Tensor:
    return _output(x, 1, False)


@split.register_fake
def _(x: Tensor, weight: Tensor, num_frames: int, paired: bool) -> tuple[Tensor, Tensor]:
    return _output(x, 2, paired), _output(x, 2, paired)


def _gradients_of(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    sums = torch.empty_like(weight, dtype=torch.float32, memory_format=torch.contiguous_format)
    return torch.empty_like(x, memory_format=torch.channels_last), sums


@blend_backward.register_fake
def _(gradient: Tensor, out: Tensor, x: Tensor, weight: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
    return _gradients_of(x, weight)


@split_backward.register_fake
def _(
    even_gradient: Tensor,
    odd_gradient: Tensor,
    even: Tensor,
    odd: Tensor,
    x: Tensor,
    weight: Tensor,
    num_frames: int,
    paired: bool,
) -> tuple[Tensor, Tensor]:
    return _gradients_of(x, weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor | tuple[Tensor, Tensor]) -> None:
    x, weight, *ctx.how = inputs
    outs = (output,) if isinstance(output, Tensor) else output
    ctx.save_for_backward(x, weight, *outs)


def _blend_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    x, weight, out = ctx.saved_tensors
    of_x, of_weight = blend_backward(gradient, out, x, weight, *ctx.how)
    return of_x, of_weight.to(weight.dtype), None


def _split_gradients(ctx: Any, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor, None, None]:
    x, weight, *outs = ctx.saved_tensors
    of_x, of_weight = split_backward(even, odd, *outs, x, weight, *ctx.how)
    return of_x, of_weight.to(weight.dtype), None, None


blend.register_autograd(_blend_gradients, setup_context=_keep)
split.register_autograd(_split_gradients, setup_context=_keep)

"""The kernels of `blvnet.tam_kernel` in Triton's interpreter, on the CPU; `test_tam_kernel.py` starts this.

Whether a function is interpreted is decided when it is defined, Triton's own included: TRITON_INTERPRET=1 must be there
before anything is imported.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from triton.runtime.interpreter import InterpreterBuilder

from blvnet import BLVNetTAM, tam_op
from tests.traffic import kernel_bytes
from tests.unit.blvnet.test_tam import formula

CHANNELS_LAST = torch.channels_last
Blend = Callable[[Tensor, Tensor], list[Tensor]]


def kernel(how: str, frames: int) -> Blend:
    """The outputs of clips of `frames` frames as the network wants them: "plain", "apart", or "pairs"."""
    if how == "plain":
        return lambda x, weight: [tam_op.blended(x, weight, frames)]
    return lambda x, weight: list(tam_op.blended_apart(x, weight, frames, paired=how == "pairs"))


def definition(how: str, frames: int) -> Blend:
    def outputs(x: Tensor, weight: Tensor) -> list[Tensor]:
        clips = x.unflatten(0, (-1, frames // 2 if how == "pairs" else frames))
        full = formula(clips.repeat_interleave(2, 1) if how == "pairs" else clips, weight)
        parts = [full] if how == "plain" else [full[:, 0::2], full[:, 1::2]]
        return [part.flatten(0, 1) for part in parts]

    return outputs


def inputs(
    how: str, frames: int, taps: int, shape: tuple[int, int, int], clips: int = 2
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    held = frames // 2 if how == "pairs" else frames
    return torch.randn(clips * held, *shape), torch.randn(shape[0], taps)


def compare(
    how: str,
    frames: int,
    x: Tensor,
    weight: Tensor,
    gradients: list[Tensor] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Values and gradients of the kernels beside those of the definition in float64."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    exact = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    found, expected = kernel(how, frames)(x, weight), definition(how, frames)(*exact)
    gradients = gradients or [torch.randn_like(out) for out in found]
    of_found = torch.autograd.grad(found, (x, weight), gradients)
    of_expected = torch.autograd.grad(expected, exact, [gradient.double() for gradient in gradients])
    for out in found:
        assert out.is_contiguous(memory_format=CHANNELS_LAST) and out.dtype == x.dtype
    assert of_found[0].dtype == x.dtype and of_found[1].dtype == weight.dtype
    torch.testing.assert_close(
        [*found, of_found[0]],
        [*(out.to(x.dtype) for out in expected), of_expected[0].to(x.dtype)],
        rtol=tolerance,
        atol=tolerance,
    )
    # Sums over many values are float32, whatever those are.
    torch.testing.assert_close(of_found[1], of_expected[1].float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("how", ["plain", "apart", "pairs"])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_they_follow_the_definition(how: str, taps: int, frames: int) -> None:
    if frames % 2 and how != "plain":
        pytest.skip("pairs need an even number of frames")
    for shape in [(1, 3, 3), (5, 3, 5), (70, 1, 1), (3, 19, 9)]:
        compare(how, frames, *inputs(how, frames, taps, shape))


@pytest.mark.parametrize("how", ["plain", "apart", "pairs"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 8e-3), (torch.float16, 1e-3)])
def test_half_formats_are_rounded_once(how: str, dtype: torch.dtype, tolerance: float) -> None:
    x, weight = inputs(how, 4, 3, (8, 5, 7))
    weight[3] = 0.0  # its outputs are zeros of both signs, through which no gradient goes
    # The definition in float64 rounds at its end: one step of the format apart at most.
    compare(how, 4, x.to(dtype).contiguous(memory_format=CHANNELS_LAST), weight, tolerance=tolerance)


@pytest.mark.parametrize("how", ["plain", "apart", "pairs"])
def test_any_memory_will_do(how: str) -> None:
    x, weight = inputs(how, 4, 3, (6, 4, 4))
    shape = kernel(how, 4)(x, weight)[0].shape
    count = 1 if how == "plain" else 2
    every_second = [torch.randn(*shape[:3], 2 * shape[3])[..., ::2] for _ in range(count)]
    spread = [torch.randn(shape[0], 1, 1, 1).expand(shape) for _ in range(count)]
    for held in (x.contiguous(), x.contiguous(memory_format=CHANNELS_LAST), x.transpose(2, 3)):
        for gradients in (every_second, spread):
            compare(how, 4, held, weight, gradients)
    compare(how, 4, x, weight.t().contiguous().t())


@pytest.mark.parametrize("how", ["plain", "apart", "pairs"])
def test_an_empty_batch_has_empty_outputs_and_no_gradient(how: str) -> None:
    x, weight = inputs(how, 4, 3, (6, 4, 4), clips=0)
    compare(how, 4, x, weight)


@pytest.mark.parametrize(("frames", "channels"), [(5, 6), (8, 5), (8, 7)])
def test_what_fits_no_clips_is_refused_and_not_read(frames: int, channels: int) -> None:
    x, weight = torch.randn(frames, 6, 3, 3), torch.randn(channels, 3)
    for blend in (kernel("plain", 4), kernel("apart", 4), kernel("pairs", 8)):
        with pytest.raises(ValueError, match="are no whole clips of 4"):
            blend(x, weight)
    with pytest.raises(ValueError, match="in 2 streams"):
        kernel("apart", 3)(torch.randn(6, 6, 3, 3), torch.randn(6, 3))


def test_one_output_without_a_use_has_the_gradient_zero() -> None:
    x, weight = inputs("pairs", 4, 3, (6, 4, 4))
    weight.requires_grad_()
    _, odd = kernel("pairs", 4)(x, weight)
    _, expected = definition("pairs", 4)(x, weight)
    given = torch.autograd.grad(odd.sum(), weight), torch.autograd.grad(expected.sum(), weight)
    torch.testing.assert_close(*given)


def test_what_is_not_a_number_stays_seen() -> None:
    x, weight = inputs("plain", 4, 3, (2, 2, 2))
    x[1, 0, 0, 0] = math.nan
    (out,) = kernel("plain", 4)(x, weight)
    assert out[:3, 0, 0, 0].isnan().all() and out.isnan().sum() == 3


def test_autocast_decides_the_frames_format_and_not_the_weights() -> None:
    x, weight = inputs("apart", 4, 3, (8, 4, 4))
    weight.requires_grad_()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            even, odd = kernel("apart", 4)(x, weight)
        assert even.dtype == odd.dtype == dtype
        expected, _ = definition("apart", 4)(x.to(dtype).double(), weight.double())
        torch.testing.assert_close(even, expected.to(dtype), rtol=8e-3, atol=8e-3)
        (gradient,) = torch.autograd.grad(even.sum(), weight)
        assert gradient.dtype == torch.float32


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # opcheck's
@pytest.mark.parametrize("memory", [torch.contiguous_format, CHANNELS_LAST])
def test_they_are_sound_operators_of_torch(memory: torch.memory_format) -> None:
    x, weight = inputs("apart", 4, 3, (5, 3, 2))
    x = x.contiguous(memory_format=memory).requires_grad_()
    weight.requires_grad_()
    torch.library.opcheck(tam_op.blend, (x, weight, 4))
    torch.library.opcheck(tam_op.split, (x, weight, 4, False))
    torch.library.opcheck(tam_op.split, (x, weight, 4, True))


def through_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blvnet.tam.form_for", lambda x, wanted: "kernel")


def lively() -> BLVNetTAM:
    torch.manual_seed(0)
    model = BLVNetTAM(26, 4, 5, dropout=0).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    return model


def test_a_network_learns_the_same_through_them_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = []
    for number in range(3):
        model = lively()
        if number:
            through_kernels(monkeypatch)
        run = torch.compile(model, backend="aot_eager", fullgraph=True) if number == 2 else model
        logits = run(clips)
        (logits * 1e6).square().sum().backward()
        found.append([logits.detach(), *(parameter.grad for parameter in model.parameters())])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-3, atol=1e-5)


def test_a_program_may_be_exported_with_them_and_the_network_never_is() -> None:
    class Alone(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return tam_op.blended(x, weight, 2)

    x, weight = inputs("plain", 2, 3, (5, 3, 2))
    program = torch.export.export(Alone(), (x, weight))
    assert any("tam_blend" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x, weight), tam_op.blended(x, weight, 2))


@pytest.mark.parametrize("how", ["plain", "apart", "pairs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_read_and_write_what_is_said_of_them(
    how: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every load and store of a run is counted; `kernel_bytes` stands for them where a run would take hours."""
    moved = 0
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def counted_load(self, ptrs, mask, *rest):  # type: ignore[no-untyped-def]
        nonlocal moved
        moved += int(mask.data.sum()) * ptrs.get_element_ty().primitive_bitwidth // 8
        return load(self, ptrs, mask, *rest)

    def counted_store(self, ptrs, value, mask, *rest):  # type: ignore[no-untyped-def]
        nonlocal moved
        moved += int(mask.data.sum()) * ptrs.get_element_ty().primitive_bitwidth // 8
        return store(self, ptrs, value, mask, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_masked_load", counted_load)
    monkeypatch.setattr(InterpreterBuilder, "create_masked_store", counted_store)
    x, weight = inputs(how, 4, 3, (70, 7, 5))
    x, weight = x.to(dtype).contiguous(memory_format=CHANNELS_LAST).requires_grad_(), weight.requires_grad_()
    outs = kernel(how, 4)(x, weight)
    torch.autograd.grad(outs, (x, weight), [F.relu(out) for out in outs])
    forward, backward, least = kernel_bytes(x, weight, 4, len(outs), how == "pairs")
    assert moved == forward + backward
    assert least < moved

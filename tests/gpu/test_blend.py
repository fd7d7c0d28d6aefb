"""What only a GPU can show of the temporal aggregation: every form blends, and learns, alike."""

import pytest
import torch
from torch import Tensor

from blvnet import BLVNetTAM
from blvnet.tam import FORMS, Form, TemporalAggregation
from blvnet.tam_choice import fastest, set_form, trial
from tests.gpu import ON_GPU

pytestmark = ON_GPU
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def found(
    form: Form,
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    taps: int,
    values: torch.dtype,
    compiled: bool = False,
) -> list[Tensor]:
    """Outputs and gradients of all three ways to call an aggregation, in `dtype`, of numbers that `values` can hold."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda").to(values).to(dtype)

    torch.manual_seed(0)
    tam = TemporalAggregation(shape[0], taps).cuda()
    # No form rounds these weights, or the sum of two: so that all have the same sums, and ReLU the same signs.
    tam.weight.data.mul_(16).round_().div_(16)
    tam.form = form
    tensors = []
    for blend in (tam.forward, tam.split, tam.split_pairs):
        frames = 4
        x = draw(3 * frames, *shape).contiguous(memory_format=torch.channels_last).requires_grad_()
        call = torch.compile(blend, fullgraph=True) if compiled else blend
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            outs = call(x, frames)
        outs = (outs,) if isinstance(outs, Tensor) else outs
        weigh = [draw(*out.shape) for out in outs]
        gradients = torch.autograd.grad(outs, (x, tam.weight), weigh)
        tensors += [*(out.detach() for out in outs), *gradients]
    return tensors


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", [(64, 14, 14), (70, 5, 3), (1, 1, 1)])
def test_forms_agree(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    agree(("kernel", "convolution"), 3, shape, dtype, compiled=False)


# The other combinations would be compiled for a minute; the interpreter has them all.
@pytest.mark.parametrize("taps", [1, 4, 7])
def test_forms_agree_for_any_number_of_taps(taps: int) -> None:
    agree(("kernel", "convolution"), taps, (70, 5, 3), torch.bfloat16, compiled=False)


@pytest.mark.parametrize("compiled", [False, True])
def test_forms_agree_where_a_compiler_is_at_work(compiled: bool) -> None:
    agree(FORMS, 3, (64, 14, 14), torch.bfloat16, compiled)


def agree(
    forms: tuple[Form, ...], taps: int, shape: tuple[int, int, int], dtype: torch.dtype, compiled: bool
) -> None:
    expected = found("sum", torch.float32, shape, taps, dtype)
    for form in forms:
        for one, other in zip(found(form, dtype, shape, taps, dtype, compiled), expected, strict=True):
            # On average, not at every place: sums of one sign and of the other are a rounding apart.
            error, largest = float((one.float() - other).abs().mean()), float(other.abs().max())
            assert error <= TOLERANCE[dtype] * max(largest, 1e-3), form


def test_more_values_than_32_bits_can_number() -> None:
    tam = TemporalAggregation(64, 3).cuda()
    frames = 2**31 // (64 * 112 * 112) // 2 * 2 + 4
    x = torch.zeros(frames, 64, 112, 112, dtype=torch.bfloat16, device="cuda")
    x = x.contiguous(memory_format=torch.channels_last)
    x[-1] = 1
    with torch.no_grad():
        tam.weight.fill_(1.0)
        out = tam(x, 2)
    assert float(out[-1].float().mean()) == float(out[-2].float().mean()) == 1 and not out[:-2].any()


def test_a_trial_finds_a_form() -> None:
    model = BLVNetTAM(26, 4, 5).cuda()
    form, seconds = fastest(
        trial(model, 2, 64, torch.bfloat16, lambda: torch.autocast("cuda", torch.bfloat16))
    )
    assert form in FORMS and set(seconds) == set(FORMS)
    set_form(model, form)
    assert model(torch.zeros(1, 4, 3, 64, 64, device="cuda")).isfinite().all()

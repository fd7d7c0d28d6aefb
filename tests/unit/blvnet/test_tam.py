"""The temporal aggregation module against its formula, frame by frame."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from blvnet.tam import TemporalAggregation, blend_as_convolution, blend_as_sum

Form = Callable[[Tensor, Tensor, int, int], Tensor]


def formula(x: Tensor, weight: Tensor) -> Tensor:
    """ReLU(sum_i w_i * x[t + i - r // 2]) of clips (batch, T, C, H, W)."""
    taps = weight.shape[1]
    out = torch.zeros_like(x)
    for t in range(x.shape[1]):
        for i in range(taps):
            source = t + i - taps // 2
            if 0 <= source < x.shape[1]:
                out[:, t] += weight[:, i, None, None] * x[:, source]
    return out.relu()


def folded(clips: Tensor) -> Tensor:
    return clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)


@pytest.fixture(params=[blend_as_sum, blend_as_convolution])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of the blend, whichever this device would take."""
    for name in ("blend_as_sum", "blend_as_convolution"):
        monkeypatch.setattr(f"blvnet.tam.{name}", request.param)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("frames", [2, 6])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 7])
def test_every_form_follows_the_formula(frames: int, taps: int) -> None:
    torch.manual_seed(0)
    tam = TemporalAggregation(4, taps)
    clips = torch.randn(2, frames, 4, 3, 5)
    pairs = torch.randn(2, frames // 2, 4, 3, 5)
    with torch.no_grad():
        expected = formula(clips, tam.weight)
        torch.testing.assert_close(tam(folded(clips), frames), expected.flatten(0, 1))
        even, odd = tam.split(folded(clips), frames)
        torch.testing.assert_close(even, expected[:, 0::2].flatten(0, 1))
        torch.testing.assert_close(odd, expected[:, 1::2].flatten(0, 1))
        repeated = formula(pairs.repeat_interleave(2, 1), tam.weight)
        even, odd = tam.split_pairs(folded(pairs), frames // 2)
        torch.testing.assert_close(even, repeated[:, 0::2].flatten(0, 1))
        torch.testing.assert_close(odd, repeated[:, 1::2].flatten(0, 1))


@pytest.mark.usefixtures("form")
def test_gradients_are_the_formulas() -> None:
    torch.manual_seed(0)
    tam = TemporalAggregation(4, 3).double()
    pairs = torch.randn(2, 3, 4, 3, 5, dtype=torch.double, requires_grad=True)
    weigh = torch.randn(2, 6, 4, 3, 5, dtype=torch.double)
    (formula(pairs.repeat_interleave(2, 1), tam.weight) * weigh).sum().backward()
    expected = pairs.grad, tam.weight.grad
    pairs.grad = tam.weight.grad = None
    even, odd = tam.split_pairs(folded(pairs), 3)
    ((even * weigh[:, 0::2].flatten(0, 1)).sum() + (odd * weigh[:, 1::2].flatten(0, 1)).sum()).backward()
    torch.testing.assert_close((pairs.grad, tam.weight.grad), expected)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("stride", [1, 2])
def test_output_is_dense_channels_last_memory(stride: int) -> None:
    tam = TemporalAggregation(8)
    x = torch.randn(2 * 4, 8, 3, 5).contiguous(memory_format=torch.channels_last)
    for out in [tam(x, 4)] if stride == 1 else tam.split(x, 4):
        assert out.is_contiguous(memory_format=torch.channels_last)

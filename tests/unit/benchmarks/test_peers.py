"""The peers are what their papers say."""

import pytest
import torch

from benchmarks.peers import TemporalShift, tsm, tsn
from benchmarks.training_step import cost


def test_an_eighth_of_the_channels_comes_from_the_frame_after_and_an_eighth_from_the_one_before() -> None:
    clips = torch.arange(1.0, 1 + 2 * 3 * 16).view(6, 16, 1, 1)
    found = TemporalShift(torch.nn.Identity(), 3)(clips).view(2, 3, 16)
    given = clips.view(2, 3, 16)
    for t in range(3):
        after = given[:, t + 1, :2] if t < 2 else torch.zeros(2, 2)
        before = given[:, t - 1, 2:4] if t > 0 else torch.zeros(2, 2)
        assert torch.equal(found[:, t], torch.cat([after, before, given[:, t, 4:]], 1))


def test_only_the_shift_looks_at_the_order_of_frames() -> None:
    torch.manual_seed(0)
    clips = torch.randn(1, 4, 3, 32, 32)
    for build, differs in ((tsn, False), (tsm, True)):
        model = build(4, 5).eval()
        with torch.no_grad():
            forward, backward = model(clips), model(clips.flip(1))
        assert forward.shape == (1, 5)
        assert bool((forward - backward).abs().max() > 1e-4 * forward.abs().max()) == differs


@pytest.mark.parametrize(
    ("name", "gmacs", "parameters"),
    [
        ("tsm-50-8f", 32.7, 23.86),  # the paper's Table 2: 33G and 24.3M, with 400 classes
        ("tsn-50-16f", 65.4, 23.86),
        ("blvnet-50-f8x2", 23.5, 25.02),
        ("resnet-50", 4.09, 25.56),
    ],
)
def test_costs_are_the_known_ones(name: str, gmacs: float, parameters: float) -> None:
    found = cost(name)
    assert found[0] == pytest.approx(gmacs, rel=0.02) and found[1] == pytest.approx(parameters, abs=0.01)

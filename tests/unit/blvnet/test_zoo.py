"""The published models: names, sizes counted on the network itself, overrides."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from blvnet import create_model
from blvnet.tam import blend
from blvnet.zoo import ZOO


def test_fourteen_models_with_their_published_scores() -> None:
    scores = {name: model.top1 for name, model in ZOO.items()}
    assert len(scores) == 14
    assert scores["blvnet-tam-50-f8x2-v1"] == 46.4
    assert scores["blvnet-tam-50-f16x2-v2"] == 61.7
    assert scores["blvnet-tam-101-f24x2-v1"] == 52.2
    assert scores["blvnet-tam-101-f32x2-v2"] == 65.2
    assert scores["blvnet-tam-50-f8x2-k400"] is scores["blvnet-tam-50-f16x2-k400"] is None
    assert all((model.classes == 400) == (model.dataset == "k400") for model in ZOO.values())


@pytest.mark.parametrize("name", ZOO)
def test_parameters_and_multiply_adds_are_the_published_ones(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ZOO[name]
    with torch.device("meta"):
        model = create_model(name).eval()
        clip = torch.empty(1, published.num_frames, 3, 224, 224)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e6 == pytest.approx(published.parameters, abs=0.005)

    # Published counts have three multiply-adds for each value out of a TAM (no convolution here, so the counter
    # does not see it) and a classifier for each pair of frames (here one for a clip).
    unseen = (published.num_frames // 2 - 1) * model.classifier.weight.numel()

    def counted(*arguments: Any, **options: Any) -> Tensor:
        nonlocal unseen
        out = blend(*arguments, **options)
        unseen += 3 * out.numel()
        return out

    monkeypatch.setattr("blvnet.tam.blend", counted)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = model(clip)
    assert logits.shape == (1, published.classes)
    gmacs = (counter.get_total_flops() / 2 + unseen) / 1e9
    assert gmacs == pytest.approx(published.gmacs, abs=0.005)


def test_gmacs_are_the_published_sums() -> None:
    cost = {name.removesuffix("-v1"): model.gmacs for name, model in ZOO.items() if model.dataset == "v1"}
    assert cost["blvnet-tam-50-f16x2"] == 47.70
    assert cost["blvnet-tam-101-f16x2"] == 64.30
    assert cost["blvnet-tam-101-f32x2"] == 128.60


def test_overrides_reach_the_network() -> None:
    with torch.device("meta"):
        model = create_model("blvnet-tam-50-f8x2-v2", num_classes=8, in_channels=1)
        assert model(torch.empty(2, 16, 1, 64, 64)).shape == (2, 8)


def test_unknown_name_is_answered_with_the_names() -> None:
    with pytest.raises(
        ValueError, match="no model is called blvnet-tam-18; there are blvnet-tam-50-f8x2-v1, "
    ):
        create_model("blvnet-tam-18")

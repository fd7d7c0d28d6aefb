"""The network against the reference's numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.unit.blvnet.golden import CASES, clip_like, golden_model

STAGES = {
    "conv1": "backbone.stem.frames.conv",
    "bn_bl_init": "backbone.stem.merge.norm",
    "layer1": "backbone.stages.0",
    "layer2": "backbone.stages.1",
    "layer3": "backbone.stages.2",
    "layer4": "backbone.top",
}


@pytest.mark.parametrize("case", [name for name in CASES if "logits" in CASES[name]])
def test_golden_logits_and_stages(case: str) -> None:
    golden = CASES[case]
    model = golden_model(case).eval()
    seen: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> None:
        module = model.get_submodule(STAGES[name])
        if isinstance(module, nn.ModuleList):
            module = module[-1]

        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            # At once: the next step changes the output in place.
            seen[name] = (output.double().mean().item(), output.double().std(correction=0).item())

        module.register_forward_hook(note)

    for name in golden["stage_mean_std"]:
        watch(name)
    with torch.inference_mode():
        logits = model(clip_like(golden["config"], **golden["input"]))
    for name, expected in golden["stage_mean_std"].items():
        np.testing.assert_allclose(seen[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(logits.numpy(), golden["logits"], atol=1e-4, rtol=0)


def test_golden_sgd_losses() -> None:
    golden = CASES["r50-f2x2-sgd"]
    config, size = golden["config"], golden["input"]
    model = golden_model("r50-f2x2-sgd").train()
    settings = {key: value for key, value in golden["optimizer"].items() if key != "name"}
    optimizer = torch.optim.SGD(model.parameters(), **settings)
    losses = []
    for step in range(len(golden["losses"])):
        clips = clip_like(config, 100 + step, size["batch"], size["height"], size["width"])
        labels = np.random.default_rng(200 + step).integers(0, config["num_classes"], size["batch"])
        loss = F.cross_entropy(model(clips), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, golden["losses"], atol=1e-3, rtol=0)

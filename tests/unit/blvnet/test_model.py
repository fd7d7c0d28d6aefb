"""The network against the reference's numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain_network import PlainBLVNetTAM
from blvnet import BLVNetTAM, tam
from blvnet.backbone import Bottleneck
from blvnet.weights import from_reference, load
from tests.unit.blvnet.golden import (
    CASES,
    SGD,
    SGD_TOLERANCE,
    clip_like,
    filled_reference,
    golden_model,
    sgd_losses,
)

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
    model = golden_model(SGD)
    settings = {key: value for key, value in CASES[SGD]["optimizer"].items() if key != "name"}
    reached = np.array(sgd_losses(model, torch.optim.SGD(model.parameters(), **settings)))
    difference = np.abs(reached - CASES[SGD]["losses"])
    assert (difference < SGD_TOLERANCE).all(), difference


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        ({"depth": 50, "num_frames": 4, "dropout": 0.0}, 32, 32),
        ({"depth": 26, "num_frames": 6, "dropout": 0.0, "alpha": 1, "beta": 1, "blending_frames": 4}, 33, 42),
        (
            {"depth": 26, "num_frames": 2, "dropout": 0.0, "alpha": 4, "in_channels": 1, "num_classes": 5},
            32,
            65,
        ),
    ],
    ids=["published", "wide-even-blend-odd-size", "narrow-grey"],
)
def test_logits_and_every_gradient_equal_the_plain_form(
    config: dict[str, Any], height: int, width: int
) -> None:
    torch.manual_seed(0)
    model = BLVNetTAM(**config)
    load(model, from_reference(filled_reference(model, False, 0)))
    plain = PlainBLVNetTAM(**config)
    plain.load_state_dict(model.state_dict())
    model, plain = model.double().train(), plain.double().train()
    clips = torch.randn(
        2, config["num_frames"], config.get("in_channels", 3), height, width, dtype=torch.double
    )
    weigh = torch.randn(2, config.get("num_classes", 174), dtype=torch.double)
    ours, theirs = model(clips), plain(clips)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    (ours * weigh).sum().backward()
    (theirs * weigh).sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        gradient = expected[name].grad
        assert parameter.grad is not None
        assert gradient is not None
        scale = gradient.abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-7 * scale, rtol=0, msg=name)
    buffers = dict(plain.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], msg=name)


SMALL: dict[str, Any] = {"depth": 26, "num_frames": 4, "num_classes": 7}


def small_model(**changes: Any) -> BLVNetTAM:
    """A depth-26 network whose residual branches are not zero."""
    model = BLVNetTAM(**{**SMALL, **changes})
    load(model, from_reference(filled_reference(model, True, 0)))
    return model


def test_memory_format_of_the_input_makes_no_difference() -> None:
    model = small_model().eval()
    clips = torch.randn(2, 4, 3, 72, 96)
    interleaved = clips.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        torch.testing.assert_close(model(interleaved), model(clips))


def test_interleaved_clip_is_read_in_place_and_stays_channels_last() -> None:
    model = small_model().eval()
    clips = torch.randn(2, 4, 64, 64, 3).permute(0, 1, 4, 2, 3)
    convolutions = 0

    def check(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal convolutions
        convolutions += 1
        assert inputs[0].is_contiguous(memory_format=torch.channels_last)
        assert output.is_contiguous(memory_format=torch.channels_last)

    def same_memory(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert inputs[0].data_ptr() == clips.data_ptr()

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(check)
    model.backbone.stem.frames.conv.register_forward_pre_hook(same_memory)
    with torch.inference_mode():
        model(clips)
    assert convolutions > 40


@pytest.mark.parametrize("training", [False, True])
def test_traces_as_one_graph(training: bool) -> None:
    model = small_model(dropout=0.0).train(training)
    clips = torch.randn(2, 4, 3, 32, 32)
    expected = model(clips)
    model.load_state_dict(small_model(dropout=0.0).state_dict())
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(clips), expected, atol=1e-4, rtol=1e-4)


def test_exports_with_a_free_batch_size() -> None:
    model = small_model().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 4, 3, 32, 32),), dynamic_shapes=({0: batch},))
    clips = torch.randn(3, 4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(clips), model(clips), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["blend_as_sum", "blend_as_convolution"])
def test_trains_under_autocast(dtype: torch.dtype, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("blend_as_sum", "blend_as_convolution"):
        monkeypatch.setattr(f"blvnet.tam.{name}", getattr(tam, form))
    torch.manual_seed(0)
    model = small_model(dropout=0.0, num_frames=2)
    clips = torch.randn(2, 2, 3, 64, 64)
    expected = model(clips)
    with torch.autocast("cpu", dtype):
        logits = model(clips)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), name
    # Half a percent of each rounding, through fifty layers: near, not equal.
    relative = (logits - expected).norm() / expected.norm()
    assert relative < 0.2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pooling_and_classifier_round_nothing_under_autocast(dtype: torch.dtype) -> None:
    """Logits of some 10 with differences of some 0.01, as trained networks have them: in bf16 most would tie."""
    torch.manual_seed(0)
    model = small_model(num_frames=2).eval()
    torch.nn.init.constant_(model.classifier.bias, 10)
    torch.nn.init.normal_(model.classifier.weight, std=0.001)
    features: list[torch.Tensor] = []
    model.backbone.register_forward_hook(lambda *seen: features.append(seen[2]))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        logits = model(torch.randn(4, 2, 3, 64, 64))
    assert features[0].dtype == dtype and logits.dtype == torch.float32
    assert all(len(row.unique()) == 7 for row in logits)
    with torch.no_grad():
        expected = model.classifier(features[0].double().mean((2, 3)).float())
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_a_compiler_sees_one_graph_under_autocast() -> None:
    model = small_model(num_frames=2).eval()
    clips = torch.randn(2, 2, 3, 64, 64)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert compiled(clips).dtype == torch.float32
        torch.testing.assert_close(compiled(clips), model(clips), atol=0.05, rtol=0.05)


def test_a_network_in_another_format_stays_in_it() -> None:
    model = small_model(num_frames=2).eval().double()
    assert model(torch.randn(1, 2, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


def test_a_longer_clip_takes_the_same_weights() -> None:
    short, long = small_model(), BLVNetTAM(**{**SMALL, "num_frames": 8})
    assert load(long, short.state_dict()) == []
    assert long(torch.randn(1, 8, 3, 64, 64)).shape == (1, 7)


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = BLVNetTAM(depth=50)
    stem = model.backbone.stem.frames.conv.weight
    assert stem.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
    blends = model.get_parameter("backbone.stages.2.tam.weight")
    assert blends.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.1)
    assert model.classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not model.classifier.bias.any()
    last_norms = 0
    for module in model.modules():
        if isinstance(module, Bottleneck):
            last_norms += 1
            assert not module.expand.norm.weight.any()
            assert (module.spatial.norm.weight == 1).all()
    assert last_norms == 2 + 3 + 5 + 3 + 3 + 3


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("depth", 34),
        ("num_frames", 7),
        ("num_frames", 0),
        ("alpha", 3),
        ("alpha", 0),
        ("beta", 0),
        ("blending_frames", 0),
        ("num_classes", 0),
        ("in_channels", 0),
        ("dropout", 1.0),
        ("dropout", -0.1),
    ],
)
def test_unusable_argument_is_named(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} is {value};"):
        BLVNetTAM(**{**SMALL, argument: value})


@pytest.mark.parametrize("shape", [(2, 6, 3, 64, 64), (2, 4, 1, 64, 64), (8, 3, 64, 64)])
def test_clip_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = BLVNetTAM(**SMALL)
        clips = torch.empty(shape)
    with pytest.raises(ValueError, match=r"this network takes \(batch, 4, 3, height, width\)"):
        model(clips)

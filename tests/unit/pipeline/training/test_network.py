"""How the network's frames are blended: one choice a run, the same on every rank."""

import pytest
import torch

from blvnet import tam_op
from blvnet.tam import Form, TemporalAggregation
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.ranks.distributed import World
from pipeline.training import network
from sharding.errors import UserError

GPU = torch.device("cuda", 0)


def settings(*overrides: str) -> Config:
    tree = {"data": {"root": "x"}, "run": {"folder": "x"}}
    return configuration.override(tree, ["model.depth=26", "model.num_frames=4", *overrides], "test")


@pytest.mark.parametrize(
    ("overrides", "kept", "expected"),
    [
        ([], None, "compiled"),  # the fastest
        ([], "convolution", "convolution"),
        (["run.deterministic=true"], None, "kernel"),
        (["run.deterministic=true"], "convolution", "convolution"),
        (["run.blend=kernel"], "convolution", "kernel"),
    ],
)
def test_a_run_chooses_once_unless_it_is_told(
    overrides: list[str], kept: Form | None, expected: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_fastest", lambda *_: "compiled")
    monkeypatch.setattr(tam_op, "AVAILABLE", True)
    config = settings(*overrides)
    model = network.build_model(config, 5)
    assert network.settle_blend(model, config, World(0, 1, GPU), kept) == expected
    forms = {module.form for module in model.modules() if isinstance(module, TemporalAggregation)}
    assert forms == {expected}


def test_kernels_that_are_not_to_be_had_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings("run.blend=kernel")
    monkeypatch.setattr(tam_op, "AVAILABLE", False)
    with pytest.raises(UserError, match=r"run\.blend=kernel: needs triton, a C compiler"):
        network.settle_blend(network.build_model(config, 5), config, World(0, 1, GPU))


def test_ranks_take_what_the_main_process_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Form:
        raise AssertionError("this rank has nothing to try")

    monkeypatch.setattr(network, "_fastest", never)
    monkeypatch.setattr(World, "share", lambda self, value: value or "convolution")
    config = settings()
    model = network.build_model(config, 5)
    assert network.settle_blend(model, config, World(1, 2, GPU)) == "convolution"


def test_of_images_there_is_nothing_to_blend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(network, "_fastest")
    config = settings("model.num_frames=1")
    assert network.settle_blend(network.build_model(config, 5), config, World(0, 1, GPU)) is None


def test_on_the_cpu_there_is_nothing_to_choose() -> None:
    config = settings("run.blend=kernel")
    model = network.build_model(config, 5)
    assert network.settle_blend(model, config, World(0, 1, torch.device("cpu"))) is None

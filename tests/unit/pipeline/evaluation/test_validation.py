"""The evaluation of a run between two epochs."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import config as configuration
from pipeline.evaluation import validation
from pipeline.ranks.distributed import World


@pytest.mark.parametrize(("device", "at_once"), [("cuda", 4 * 4), ("cpu", 4)])
def test_what_fits_the_device_goes_by_the_parts_that_training_is_computed_in(
    device: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def predict(_model: Any, _split: Any, _config: Any, _world: Any, batch: int, **how: Any) -> None:
        asked.update(how, batch=batch)

    monkeypatch.setattr(validation, "predict", predict)
    settings = configuration.load("configs/demo.yaml", ["optim.global_batch=32", "optim.accumulate=8"])
    learner = SimpleNamespace(evaluated=None, schedule=SimpleNamespace(evaluated=lambda *_: None))
    progress: Any = SimpleNamespace(learner=learner, at=SimpleNamespace(global_batch=32))
    nothing: Any = None
    world = World(0, 1, torch.device(device))
    validation.validate(progress, nothing, settings, world, nothing, between=lambda: None)
    assert (asked["batch"], asked["at_once"]) == (32, at_once)

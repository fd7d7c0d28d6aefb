"""The training step: what a checkpoint keeps of it is all that its future depends on, in every precision."""

import io
import math

import pytest
import torch

from pipeline import config
from pipeline.config import Config
from pipeline.distributed import World
from pipeline.learner import Learner, build_model

CPU = World(0, 1, torch.device("cpu"))


def settings(*overrides: str) -> Config:
    tree = {"data": {"root": "x", "size": 32, "short_side": 32}, "run": {"folder": "x"}}
    return config.override(tree, ["model.depth=26", "model.num_frames=2", *overrides], "test")


def learner(settings: Config) -> Learner:
    torch.manual_seed(0)
    return Learner(build_model(settings, num_classes=5), settings, CPU)


def train(learner: Learner, steps: range) -> list[float]:
    """Losses of these steps, each on its own batch."""
    losses = []
    for step in steps:
        rng = torch.Generator().manual_seed(step)
        clips = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8, generator=rng)
        loss, _ = learner.step(clips, torch.randint(0, 5, (3,), generator=rng), step, lr=0.01)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_restored_learner_goes_on_bit_for_bit(precision: str) -> None:
    chosen = settings(f"run.precision={precision}")
    whole, first, second = learner(chosen), learner(chosen), learner(chosen)
    losses = train(whole, range(4))
    assert all(math.isfinite(loss) for loss in losses)
    assert train(first, range(2)) == losses[:2]
    saved = io.BytesIO()
    torch.save(first.state(), saved)
    saved.seek(0)
    second.restore(torch.load(saved, weights_only=True))
    assert train(second, range(2, 4)) == losses[2:]
    ended, expected = second.state(), whole.state()
    assert ended["scaler"] == expected["scaler"]
    assert bool(ended["scaler"]) == (precision == "fp16")
    assert all(torch.equal(tensor, expected["model"][name]) for name, tensor in ended["model"].items())


def test_fp16_leaves_out_a_step_whose_gradients_overflow() -> None:
    one = learner(settings("run.precision=fp16"))
    one.restore({**one.state(), "scaler": {**one.state()["scaler"], "scale": 1e30}})
    before = {name: tensor.clone() for name, tensor in one.model.named_parameters()}
    train(one, range(1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.model.named_parameters())
    assert one.state()["scaler"]["scale"] == pytest.approx(0.5e30)


def test_frozen_norms_keep_their_statistics_and_still_learn_their_scales() -> None:
    for frozen in (True, False):
        one = learner(settings(f"optim.frozen_norm={str(frozen).lower()}"))
        before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
        train(one, range(2))
        after = one.model.state_dict()
        statistics = [name for name in before if "running" in name]
        assert statistics
        assert all(torch.equal(after[name], before[name]) == frozen for name in statistics)
        assert not torch.equal(after["classifier.weight"], before["classifier.weight"])


def test_dropout_depends_on_the_seed_and_the_step_alone() -> None:
    chosen = settings("model.dropout=0.5", "run.precision=fp32", "optim.frozen_norm=true")
    assert train(learner(chosen), range(3)) == train(learner(chosen), range(3))
    other = settings("model.dropout=0.5", "run.precision=fp32", "optim.frozen_norm=true", "run.seed=1")
    assert train(learner(chosen), range(3))[1:] != train(learner(other), range(3))[1:]

"""Running statistics: without what they began with, averaged over the ranks, and of use after a few steps."""

import pytest
import torch
from torch import nn

from pipeline import config
from pipeline.config import Config
from pipeline.ranks.distributed import World
from pipeline.training.inference import Inference
from pipeline.training.learner import Learner
from pipeline.training.network import build_model
from pipeline.training.norms import RunningStatistics
from tests.kernels import Calls

CPU = World(0, 1, torch.device("cpu"))
CLASSES = 6


def settings(*overrides: str) -> Config:
    tree = {"data": {"root": "x", "size": 32, "short_side": 32}, "run": {"folder": "x", "precision": "fp32"}}
    small = ["model.depth=26", "model.num_frames=2", "model.dropout=0.0", "optim.global_batch=6"]
    return config.override(tree, [*small, *overrides], "test")


def learner(*overrides: str, world: World = CPU) -> Learner:
    torch.manual_seed(0)
    chosen = settings(*overrides)
    return Learner(build_model(chosen, CLASSES), chosen, world)


def clips(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (CLASSES, 2, 3, 32, 32), dtype=torch.uint8, generator=generator)


def train(one: Learner, steps: int) -> None:
    for step in range(steps):
        one.step(clips(step), torch.arange(CLASSES), step, 0.01)


def statistics(one: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in one.model.named_buffers() if "running" in name}


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("parts", [1, 2])
def test_they_are_the_moving_average_of_the_batches_alone(steps: int, parts: int) -> None:
    plain, unbiased = (
        learner(f"optim.unbiased_norm={kind}", f"optim.accumulate={parts}") for kind in ("false", "true")
    )
    first = statistics(plain)
    train(plain, steps)
    train(unbiased, steps)
    kept = 0.9 ** (steps * parts)  # of the first values, by a norm's own rule
    found = statistics(unbiased)
    for name, value in statistics(plain).items():
        expected = (value - kept * first[name]) / (1 - kept)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    weights = dict(plain.model.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in unbiased.model.named_parameters())


def colours() -> torch.Tensor:
    """A clip of soft colours for each class, which a fresh network knows by heart in a few steps."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 256, (CLASSES, 3, 4, 4), generator=generator).float()
    pictures = nn.functional.interpolate(corners, 64, mode="bilinear").to(torch.uint8)
    return pictures[:, None].expand(-1, 2, -1, -1, -1)


@pytest.mark.parametrize(("kind", "least", "most"), [("true", 6, 6), ("false", 0, 1)])
def test_a_network_that_knows_its_clips_soon_knows_them_in_an_evaluation_too(
    kind: str, least: int, most: int
) -> None:
    one, known = learner(f"optim.unbiased_norm={kind}"), colours()
    for step in range(16):
        trained = one.step(known, torch.arange(CLASSES), step, 0.01)
    assert trained.top1 == CLASSES
    logits = Inference(one.evaluated, "fp32", CPU.device, batch=CLASSES)(known[:, None])
    assert least <= (logits.argmax(1) == torch.arange(CLASSES)).sum() <= most


@pytest.mark.parametrize("frozen", ["all", "all_but_first"])
def test_frozen_statistics_stay(frozen: str) -> None:
    one = learner(f"optim.frozen_norm={frozen}")
    before = statistics(one)
    train(one, 2)
    moved = {name for name, value in statistics(one).items() if not torch.equal(value, before[name])}
    first = {f"backbone.stem.frames.norm.running_{moment}" for moment in ("mean", "var")}
    assert moved == (set() if frozen == "all" else first)


@pytest.mark.parametrize("ranks", ["all", "main"])
def test_ranks_exchange_them_once_a_step(monkeypatch: pytest.MonkeyPatch, ranks: str) -> None:
    sent: list[torch.Tensor] = []

    def mean(world: World, value: torch.Tensor) -> torch.Tensor:
        """As if all statistics of the other ranks were 3 more."""
        sent.append(value)
        return value + 1.5

    monkeypatch.setattr(World, "mean", mean)
    monkeypatch.setattr("pipeline.training.learner._data_parallel", lambda model, device, static: model)
    two = learner(f"optim.norm_ranks={ranks}", "optim.accumulate=2", world=World(0, 2, CPU.device))
    alone = learner("optim.accumulate=2")
    train(two, 1)
    train(alone, 1)
    assert len(sent) == (ranks == "all")
    found = statistics(two)
    for name, value in statistics(alone).items():
        torch.testing.assert_close(found[name], value + 1.5 * (ranks == "all"))


def test_the_number_of_kernels_does_not_grow_with_the_number_of_norms() -> None:
    found = []
    for count in (2, 20):
        model = nn.Sequential(*(nn.BatchNorm2d(3) for _ in range(count)))
        statistics = RunningStatistics(model, settings().optim, CPU)  # type: ignore[arg-type]
        with Calls() as calls:
            before = statistics.before_batch()
            model[0].num_batches_tracked += 1
            statistics.after_batch(before)
            statistics.after_step()
        found.append(+calls.names)
    assert found[0] == found[1]

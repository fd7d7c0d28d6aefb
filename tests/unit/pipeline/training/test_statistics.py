"""Batch-norm statistics of other clips: replaced by those of the clips that are given, on all ranks together."""

import torch
from torch import nn

from blvnet import BLVNetTAM
from pipeline import config
from pipeline.ranks.distributed import World
from pipeline.training.network import build_model
from pipeline.training.normalise import Normaliser
from pipeline.training.statistics import recompute

CPU = torch.device("cpu")
SETTINGS = config.override(
    {"data": {"root": "x", "size": 32, "short_side": 32}, "run": {"folder": "x", "precision": "fp32"}},
    ["model.depth=26", "model.num_frames=2", "model.dropout=0.0"],
    "test",
)


def network() -> BLVNetTAM:
    torch.manual_seed(0)
    model = build_model(SETTINGS, num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(3.0)  # type: ignore[union-attr]
    return model


def clips(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (8, 2, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_one_batch_is_then_seen_in_evaluation_as_in_training() -> None:
    model, some = network(), clips(0)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    recompute(model, [some], SETTINGS, World(0, 1, CPU))
    floats = Normaliser(CPU)(some)
    with torch.no_grad():
        seen = model.train()(floats)
        # The variance that is kept is the unbiased one, so that small maps differ a little.
        assert (model.eval()(floats) - seen).abs().mean() < 0.1 * seen.std()
        assert (network().eval()(floats) - seen).abs().mean() > seen.std()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(module.momentum == 0.1 for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_each_batch_counts_alike() -> None:
    def means(*seeds: int) -> torch.Tensor:
        model = network()
        recompute(model, [clips(seed) for seed in seeds], SETTINGS, World(0, 1, CPU))
        first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
        assert first.running_mean is not None
        return first.running_mean

    torch.testing.assert_close(means(1, 2, 3), (means(1) + means(2) + means(3)) / 3)

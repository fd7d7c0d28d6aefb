"""What only a GPU can show of a training step: it waits for nothing, and decides on the device.

There is none where CI runs: `python -m pytest tests/gpu` on a machine that has one.
"""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline import config
from pipeline.augmentation.batches import changer
from pipeline.config import Augment, Config
from pipeline.data import loader
from pipeline.data.batch import Batch
from pipeline.data.prefetch import on_device
from pipeline.data.stream import empty_clips
from pipeline.ranks.distributed import World
from pipeline.training.learner import Learner
from pipeline.training.network import build_model
from tests.gpu import ON_GPU
from tests.unit.pipeline.data.test_loader import NumberedCutter, number_of, stream

pytestmark = ON_GPU
DEVICE = torch.device("cuda", 0)
STEPS = 3


def settings(*overrides: str) -> Config:
    tree = {"data": {"root": "x", "size": 64, "short_side": 64}, "run": {"folder": "x"}}
    # Without a trial of all forms, for which a compiler takes a minute.
    return config.override(
        tree, ["model.depth=26", "model.num_frames=4", "run.blend=kernel", *overrides], "test"
    )


def learner(*overrides: str) -> Learner:
    torch.manual_seed(0)
    chosen = settings(*overrides)
    return Learner(build_model(chosen, num_classes=5), chosen, World(0, 1, DEVICE))


def batches() -> Iterator[Batch]:
    """As the loader hands them over: in pinned memory."""
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        clips = empty_clips(4, (4, 3, 64, 64), pin=True)
        clips.copy_(torch.randint(0, 256, clips.shape, dtype=torch.uint8, generator=generator))
        labels = torch.randint(0, 5, (4,), generator=generator).pin_memory()
        yield Batch(0, step, list(range(4)), list("abcd"), labels, clips)


def losses(trained: Learner, arriving: Iterator[Batch] | None = None) -> list[Tensor]:
    return [
        trained.step(batch.clips, batch.labels, batch.step, 0.01)[0]
        for batch in islice(arriving or on_device(batches(), DEVICE), STEPS)
    ]


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise where the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "overrides",
    [
        ["run.precision=bf16"],
        ["run.precision=fp16"],
        ["run.precision=fp32", "optim.clip_norm=1", "optim.ema_decay=0.9", "optim.accumulate=2"],
    ],
)
def test_a_step_does_not_wait_for_the_device(overrides: list[str]) -> None:
    trained = learner(*overrides)
    losses(trained)  # what is set up once may wait
    with closing(on_device(batches(), DEVICE)) as arriving, no_waiting():
        found = losses(trained, arriving)
    assert all(math.isfinite(loss) for loss in found) or "fp16" in overrides[0]


def test_batches_arrive_whole_and_channels_last() -> None:
    for sent, arrived in zip(batches(), on_device(batches(), DEVICE), strict=True):
        assert arrived.clips.device == arrived.labels.device == DEVICE
        assert torch.equal(arrived.clips.cpu(), sent.clips) and torch.equal(arrived.labels.cpu(), sent.labels)
        assert arrived.clips.stride() == sent.clips.stride()


def test_clips_are_changed_on_the_device_as_on_the_cpu() -> None:
    change = changer(Augment(operations=2, jitter=0.3, mixup=0.5), seed=0)
    sent = [change(batch) for batch in batches()]
    for here, there in zip(sent, on_device(batches(), DEVICE, change), strict=True):
        difference = (here.clips.float() - there.clips.cpu().float()).abs()
        assert difference.mean() < 0.5  # of 255 levels; an edge may round to another pixel
        assert here.mixed is not None and there.mixed is not None
        assert torch.equal(here.mixed.labels, there.mixed.labels.cpu())
        assert torch.equal(here.mixed.shares, there.mixed.shares.cpu())


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_an_unfit_step_changes_nothing(precision: str) -> None:
    trained = learner(f"run.precision={precision}")
    losses(trained)
    before = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    trained.model.classifier.weight.register_hook(lambda gradient: gradient * math.inf)
    assert all(math.isnan(loss) for loss in losses(trained))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.model.state_dict().items())


def test_a_compiled_network_trains_as_the_eager_one() -> None:
    alike = ["run.precision=fp32", "model.dropout=0"]  # a compiler draws other random numbers
    eager = losses(learner(*alike))
    compiled = losses(learner(*alike, "run.compile=true"))
    for one, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_ring_is_pinned_and_never_written_over_while_the_device_copies(tmp_path: Path) -> None:
    sent = loader.batches(stream(str(tmp_path), NumberedCutter()), workers=2, pin=True)
    pinned: list[bool] = []

    def seen() -> Iterator[Batch]:
        for batch in sent:
            pinned.append(batch.clips.is_pinned())
            yield batch
            del batch

    for batch in on_device(seen(), DEVICE):
        torch.cuda._sleep(10_000_000)  # the host is ahead
        found = [clip.unique().tolist() for clip in batch.clips.cpu()]
        assert found == [[number_of(key)] for key in batch.keys]
    assert pinned == [True] * 10

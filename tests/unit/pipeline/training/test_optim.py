"""The optimiser and the learning rate of each step."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from blvnet import BLVNetTAM
from pipeline import config
from pipeline.config import Optim
from pipeline.training.optim import Schedule, sgd


def rates(optim: Optim, steps: int = 2) -> list[float]:
    schedule = Schedule(optim)
    return [schedule.rate(epoch, step, steps) for epoch in range(optim.epochs) for step in range(steps)]


def test_cosine_starts_at_the_rate_falls_each_epoch_and_ends_near_zero() -> None:
    optim = Optim(epochs=50, lr=0.01)
    all_rates = rates(optim)
    assert all_rates[0] == 0.01
    assert all_rates[::2] == all_rates[1::2]  # within an epoch nothing changes
    assert all(earlier > later for earlier, later in zip(all_rates[::2], all_rates[2::2], strict=False))
    assert Schedule(optim).rate(25, 0, 2) == pytest.approx(0.005)
    assert 0 < all_rates[-1] < 2e-5


def test_the_rate_grows_linearly_with_the_global_batch() -> None:
    assert rates(Optim(global_batch=256, lr=0.01, lr_batch=64, epochs=1))[0] == pytest.approx(0.04)


def test_the_rate_grows_with_the_clips_of_each_video() -> None:
    optim = Optim(global_batch=64, lr=0.01, lr_batch=64)
    assert Schedule(optim, repeats=2).rate(0, 0, 5) == pytest.approx(0.02)


def test_steps_divide_by_ten() -> None:
    optim = Optim(schedule="steps", step_epochs=10, epochs=25, lr=0.01)
    assert [Schedule(optim).rate(epoch, 0, 5) for epoch in (0, 9, 10, 19, 20, 24)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )


def test_warmup_grows_step_by_step() -> None:
    optim = Optim(schedule="constant", warmup_epochs=2, epochs=3, lr=0.1)
    assert rates(optim) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_multistep_divides_at_its_milestones() -> None:
    optim = Optim(schedule="multistep", milestones=(2, 3), epochs=5, lr=0.01)
    assert rates(optim, steps=1) == pytest.approx([0.01, 0.01, 0.001, 0.0001, 0.0001])


def test_a_plateau_divides_when_the_accuracy_has_not_risen_for_the_patience() -> None:
    schedule = Schedule(Optim(schedule="plateau", patience=2, lr=1.0, epochs=50))
    seen = []
    for epoch, top1 in enumerate([10, 20, 20, 15, 19, 21, 5, 21, 8]):
        schedule.evaluated(top1, loss=1.0)
        seen.append(schedule.rate(epoch, 0, 1))
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_a_plateau_of_the_loss_divides_when_it_has_not_fallen_for_the_patience() -> None:
    schedule = Schedule(Optim(schedule="plateau", plateau_of="loss", patience=2, lr=1.0, epochs=50))
    seen = []
    for epoch, loss in enumerate([3.0, 2.0, 2.0, 2.5, 1.9, 1.9]):
        schedule.evaluated(score=epoch, loss=loss)
        seen.append(schedule.rate(epoch, 0, 1))
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("seed", range(5))
def test_a_plateau_of_the_reference_recipe_is_torchs(seed: int) -> None:
    """The published code takes torch's with its defaults: a patience of 10, and falls of 0.01 % at least."""
    own = config.load("blvnet-tam-50-f8x2-v2", ["recipe=reference", "optim.schedule=plateau", "optim.lr=1.0"])
    schedule = Schedule(own.optim)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min")
    rng = np.random.default_rng(seed)
    # Slow falls, of which many are too small to count, noise, and a loss that is not finite.
    losses = 2 * np.exp(-np.cumsum(rng.choice([0, 5e-5, 1e-3], 70, p=[0.7, 0.28, 0.02])))
    losses += rng.choice([0, 0.01], 70)
    losses[7] = np.nan
    seen = []
    for epoch, loss in enumerate(losses.tolist()):
        schedule.evaluated(score=0.0, loss=loss)
        theirs.step(loss)
        seen.append((schedule.rate(epoch, 0, 1), optimizer.param_groups[0]["lr"]))
    ours, expected = zip(*seen, strict=True)
    assert ours == pytest.approx(expected) and min(ours) < 1


def test_a_restored_plateau_remembers() -> None:
    optim = Optim(schedule="plateau", patience=2, lr=1.0)
    first, second = Schedule(optim), Schedule(optim)
    for top1 in (30, 20, 20, 20):
        first.evaluated(top1, loss=1.0)
    second.restore(first.state())
    second.evaluated(29, loss=1.0)
    assert second.rate(0, 0, 1) == pytest.approx(0.01)


def test_a_run_that_goes_on_with_less_patience_divides_at_the_next_evaluation() -> None:
    first, second = (Schedule(Optim(schedule="plateau", patience=patience, lr=1.0)) for patience in (10, 2))
    for top1 in (30, 20, 20, 20, 20):
        first.evaluated(top1, loss=1.0)
    second.restore(first.state())
    second.evaluated(20, loss=1.0)
    assert second.rate(0, 0, 1) == pytest.approx(0.1)


def test_a_plateau_of_something_else_begins_anew_and_keeps_its_divisions() -> None:
    first = Schedule(Optim(schedule="plateau", patience=2, lr=1.0, epochs=50))
    for top1 in (60, 50, 50):
        first.evaluated(top1, loss=1.0)
    second = Schedule(Optim(schedule="plateau", plateau_of="loss", patience=2, lr=1.0, epochs=50))
    second.restore(first.state())
    for loss in (3.0, 2.9, 2.8, 2.7):
        second.evaluated(score=0, loss=loss)
    assert second.rate(0, 0, 1) == pytest.approx(0.1)


def test_warmup_works_with_every_schedule() -> None:
    optim = Optim(schedule="multistep", milestones=(1,), warmup_epochs=2, epochs=3, lr=0.1)
    assert rates(optim) == pytest.approx([0.025, 0.05, 0.0075, 0.01, 0.01, 0.01])


def test_a_cosine_by_step_falls_at_each_step_behind_the_warmup_to_its_end() -> None:
    optim = Optim(schedule="cosine_by_step", warmup_epochs=2, epochs=10, lr=0.1, lr_end=0.01)
    found = rates(optim, steps=5)
    assert found[:10] == pytest.approx([0.1 * (i + 1) / 10 for i in range(10)])
    assert found[9] == found[10] == pytest.approx(0.1)
    assert all(earlier > later for earlier, later in pairwise(found[10:]))
    assert found[30] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert 0.001 < found[-1] < 0.0015


def test_a_cosine_by_step_without_warmup_begins_with_the_rate_and_ends_near_zero() -> None:
    found = rates(Optim(schedule="cosine_by_step", epochs=50, lr=0.01), steps=4)
    assert found[0] == 0.01
    assert 0 < found[-1] < 1e-6
    by_epoch = rates(Optim(epochs=50, lr=0.01), steps=4)
    assert found[::4] == pytest.approx(by_epoch[::4])


def test_a_cosine_by_epoch_can_end_above_zero_too() -> None:
    found = rates(Optim(epochs=50, lr=0.01, lr_end=0.1), steps=1)
    assert found[0] == pytest.approx(0.01)
    assert found[25] == pytest.approx(0.0055)
    assert 0.001 < found[-1] < 0.00102


def test_a_warmup_longer_than_the_run_grows_to_its_end() -> None:
    optim = Optim(schedule="cosine_by_step", warmup_epochs=4, epochs=2, lr=0.1)
    assert rates(optim) == pytest.approx([0.0125, 0.025, 0.0375, 0.05])


def test_a_fused_first_step_that_is_skipped_leaves_no_momenta() -> None:
    model = BLVNetTAM(depth=26, num_frames=2, num_classes=3)
    optimizer = sgd(model, Optim(), torch.device("cuda"))  # fused, which a CPU's tensors can be too
    before = model.classifier.weight.clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()
    assert torch.equal(model.classifier.weight, before)
    for parameter in model.parameters():
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], torch.zeros_like(parameter))

"""The learning rate of each step."""

import pytest

from pipeline.config import Optim
from pipeline.optim import learning_rate


def rates(optim: Optim, steps: int = 2) -> list[float]:
    return [
        learning_rate(optim, epoch, step, steps) for epoch in range(optim.epochs) for step in range(steps)
    ]


def test_cosine_starts_at_the_rate_falls_each_epoch_and_ends_near_zero() -> None:
    optim = Optim(epochs=50, lr=0.01)
    all_rates = rates(optim)
    assert all_rates[0] == 0.01
    assert all_rates[::2] == all_rates[1::2]  # within an epoch nothing changes
    assert all(earlier > later for earlier, later in zip(all_rates[::2], all_rates[2::2], strict=False))
    assert learning_rate(optim, 25, 0, 2) == pytest.approx(0.005)
    assert 0 < all_rates[-1] < 2e-5


def test_the_rate_grows_linearly_with_the_global_batch() -> None:
    assert rates(Optim(global_batch=256, lr=0.01, lr_batch=64, epochs=1))[0] == pytest.approx(0.04)


def test_steps_divide_by_ten() -> None:
    optim = Optim(schedule="steps", step_epochs=10, epochs=25, lr=0.01)
    assert [learning_rate(optim, epoch, 0, 5) for epoch in (0, 9, 10, 19, 20, 24)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )


def test_warmup_grows_step_by_step() -> None:
    optim = Optim(schedule="constant", warmup_epochs=2, epochs=3, lr=0.1)
    assert rates(optim) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])

"""A rank's own seconds: the waiting goes to what its loader was busy with, the hand-over to training."""

import time

import pytest
import torch

from pipeline.data.batch import Seconds
from pipeline.pace.slowest import STAGES
from pipeline.pace.stages import ForwardClock, Stages


def read(stages: Stages) -> dict[str, float]:
    return dict(zip(STAGES, stages.read(), strict=True))


def test_the_waiting_is_shared_out_as_the_loader_spent_its_time() -> None:
    stages = Stages(ForwardClock(torch.device("cpu")))
    stages.add(0.5, Seconds(1.0, 2.0, 0.0))
    stages.add(0.3, Seconds(2.0, 3.0, 0.1))
    found = read(stages)
    assert [found[name] for name in STAGES[:3]] == pytest.approx([0.7 * 3 / 8, 0.7 * 5 / 8, 0.1])
    stages.restart()
    assert sum(stages.read()) == 0


def test_saving_and_forward_are_on_the_clock() -> None:
    clock = ForwardClock(torch.device("cpu"))
    stages = Stages(clock)
    for _ in range(2):
        with clock.running():
            time.sleep(0.02)
    with stages.saving():
        time.sleep(0.05)
    found = read(stages)
    assert found["forward"] >= 0.04
    assert found["checkpoint"] >= 0.05
    assert found["read"] == found["decode"] == 0

"""Figures between two lines of metrics."""

import pytest
import torch

from pipeline.pace.stages import ForwardClock
from pipeline.ranks.distributed import World
from pipeline.training.learner import Step
from pipeline.training.meter import Meter

CPU = World(0, 1, torch.device("cpu"))


def test_utilisation_is_the_rate_times_what_a_clip_takes() -> None:
    meter = Meter(CPU, ForwardClock(CPU.device), ["here"], share_of_a_clip=0.001)
    meter.add(Step(torch.tensor(1.0), torch.tensor(1), torch.tensor(3), torch.tensor(2.5)), clips=4)
    figures, _ = meter.read()
    assert figures["mfu"] == pytest.approx(0.001 * figures["clips_per_s"])
    assert figures["clips_per_s_slowest"] == pytest.approx(figures["clips_per_s"])  # of one rank

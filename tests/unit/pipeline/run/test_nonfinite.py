"""Steps without a finite loss: on record with their samples, and the end of the run after too many in a row."""

from pathlib import Path

import pytest
import torch

from pipeline.data.batch import Batch
from pipeline.pace.stages import ForwardClock
from pipeline.ranks.distributed import World
from pipeline.run import journal
from pipeline.run.nonfinite import NonFinite
from pipeline.training.learner import Step
from pipeline.training.meter import Meter
from sharding.errors import UserError

CPU = World(0, 1, torch.device("cpu"))


def batch(step: int) -> Batch:
    return Batch(0, step, [2 * step, 2 * step + 1], [f"a{step}", f"b{step}"], torch.empty(0), torch.empty(0))


def test_unfit_steps_are_written_down_with_their_samples(tmp_path: Path) -> None:
    unfit = NonFinite(str(tmp_path), 0, limit=3, world=CPU)
    for step in range(4):
        unfit.add(step + 1, batch(step))
    unfit.judge([False, True, False, True])
    assert journal.read(str(tmp_path / "nonfinite.jsonl")) == [
        {"step": 2, "epoch": 0, "keys": ["a1", "b1"]},
        {"step": 4, "epoch": 0, "keys": ["a3", "b3"]},
    ]


def test_too_many_in_a_row_end_the_run_and_single_ones_do_not(tmp_path: Path) -> None:
    unfit = NonFinite(str(tmp_path), 0, limit=3, world=CPU)
    for step, flags in enumerate(([True, True], [False, True], [True])):
        for _ in flags:
            unfit.add(step, batch(step))
        unfit.judge(flags)
    unfit.add(9, batch(9))
    with pytest.raises(
        UserError, match=r"not finite in 3 steps in a row; their samples are in .*nonfinite\.jsonl"
    ):
        unfit.judge([True])


def test_figures_leave_out_losses_that_are_not_finite() -> None:
    meter = Meter(CPU, ForwardClock(CPU.device), ["here"])
    for loss in (1.0, float("nan"), 3.0, float("inf")):
        meter.add(Step(torch.tensor(loss), torch.tensor(1), torch.tensor(2), torch.tensor(0.5)), clips=2)
    figures, unfit = meter.read()
    assert unfit == [False, True, False, True]
    assert (figures["loss"], figures["top1"], figures["nonfinite"]) == (2.0, 50.0, 2)

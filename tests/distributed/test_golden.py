"""The published SGD run, distributed: averaging equal gradients changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.processes import run, torchrun
from tests.unit.blvnet.golden import CASES, SGD, SGD_TOLERANCE


@pytest.mark.world(2)
@pytest.mark.parametrize("ranks", [1, 2])
def test_golden_sgd_losses_under_data_parallelism(ranks: int, tmp_path: Path) -> None:
    run(torchrun(ranks, "tests.distributed.golden_sgd", str(tmp_path)))
    reached = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(ranks)]
    assert reached[0] == reached[-1]
    difference = np.abs(np.array(reached[0]) - CASES[SGD]["losses"])
    assert (difference < SGD_TOLERANCE).all(), difference

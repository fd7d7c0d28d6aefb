"""Where a run is in its order: what a new run begins with, and that one begun before keeps its own order."""

from typing import Any

import numpy as np
import pytest

from pipeline import config as configuration
from pipeline.order import plan, position
from pipeline.order.position import Position
from sharding.errors import UserError
from sharding.format.manifest import Manifest

SPLIT = Manifest("b/set/train", "csv", "train", ["a"], {}, [], [], 700, 0, 0, "5" * 64)
OF_A_LANE: dict[str, Any] = {  # as releases kept it that took data.window for each lane, by default 256
    "manifest": "5" * 64,
    "seed": 3,
    "lanes": 4,
    "window": 256,
    "global_batch": 64,
    "steps_in_epoch": 10,
    "done": 25,
    "epoch": 2,
    "step": 5,
}


def begun(ranks: int = 1, **changes: object) -> Position:
    words = [f"optim.global_batch={changes.pop('batch', 64)}"]
    words += [f"data.{key}={value}" for key, value in changes.items()]
    tree = {"data": {"root": "b/set"}, "run": {"folder": "b/run", "seed": 3}}
    return position.first(configuration.override(tree, words, "test"), SPLIT, ranks)


def resumed(state: dict[str, Any], fresh: Position, lanes_given: bool = False) -> Position:
    return position.resumed(state, fresh, "b/run", lanes_given)


@pytest.mark.parametrize(
    ("ranks", "changes", "lanes", "window"),
    [
        (1, {}, 64, 16),
        (1, {"workers": 0}, 64, 16),
        (4, {"workers": 4}, 64, 16),
        (2, {"workers": 11}, 66, 16),
        (8, {"workers": 12}, 96, 11),
        (64, {"workers": 24}, 1536, 1),
        (8, {"workers": 12, "batch": 512}, 576, 2),
        (1, {"workers": 4, "batch": 640}, 512, 2),
        (1, {"lanes": 4}, 4, 256),
        (1, {"lanes": 4, "window": 10}, 4, 3),
    ],
)
def test_a_new_run_holds_a_window_and_has_at_least_64_lanes(
    ranks: int, changes: dict[str, object], lanes: int, window: int
) -> None:
    at = begun(ranks, **changes)
    assert (at.lanes, at.window) == (lanes, window)
    assert at.order == plan.Order(3, lanes, window)


@pytest.mark.parametrize("changes", [{}, {"window": 256}, {"workers": 7}, {"window": 1023}])
def test_a_run_begun_with_a_window_for_each_lane_keeps_its_order(changes: dict[str, object]) -> None:
    at = resumed(OF_A_LANE, begun(2, **changes))
    assert at.order == plan.Order(seed=3, lanes=4, window=256)
    assert (at.epoch, at.step) == (2, 5)
    sizes = np.array([100] * 7)
    before = plan.epoch_order(sizes, plan.Order(3, 4, 256), at.epoch)
    assert (plan.epoch_order(sizes, at.order, at.epoch) == before).all()
    assert (
        resumed(at.after(30).to_state(), begun(2, **changes)).order == at.order
    )  # and so on, start after start


def test_the_size_of_a_run_changes_and_its_order_does_not() -> None:
    at = begun(1).after(25)
    for ranks, workers in ((8, 8), (2, 11), (64, 24)):
        assert resumed(at.to_state(), begun(ranks, workers=workers)) == at


@pytest.mark.parametrize(
    ("state", "changes", "told"),
    [
        (OF_A_LANE, {"window": 64}, "data.window changed since this run began (from 256 a lane to 64)"),
        (OF_A_LANE, {"lanes": 64}, "data.lanes changed since this run began (from 4 to 64)"),
        (begun().to_state(), {"window": 512}, "data.window changed since this run began (from 1024 to 512)"),
        (
            begun().to_state(),
            {"window": 1023},
            "data.window changed since this run began (from 1024 to 1023)",
        ),
        ({**OF_A_LANE, "seed": 4}, {}, "run.seed changed since this run began (from 4 to 3)"),
    ],
)
def test_another_order_is_refused(state: dict[str, Any], changes: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as error:
        resumed(state, begun(**changes), lanes_given="lanes" in changes)
    assert str(error.value) == f"b/run: {told}; use another run.folder to start anew"

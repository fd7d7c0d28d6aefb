"""What is drawn for a clip's pixels: from the sample's number alone, within bounds, and nothing that mirrors."""

from collections import Counter

import pytest

from pipeline.augmentation.operations import NAMES, Operation, draw
from pipeline.config import Augment
from pipeline.order import plan

BOUNDS = {
    "identity": (0, 0),
    "autocontrast": (0, 0),
    "equalize": (0, 0),
    "posterize": (4, 8),
    "solarize": (128, 256),
    "brightness": (0.1, 1.9),
    "contrast": (0.1, 1.9),
    "saturation": (0.1, 1.9),
    "sharpness": (0.1, 1.9),
    "rotate": (-30, 30),
    "shear_x": (-0.3, 0.3),
    "shear_y": (-0.3, 0.3),
    "translate_x": (-0.2, 0.2),
    "translate_y": (-0.2, 0.2),
}


def drawn(augment: Augment, samples: int = 600) -> list[list[Operation]]:
    return [draw(augment, plan.pixel_rng(0, 0, number)) for number in range(samples)]


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_every_operation_is_drawn_and_within_its_bounds(strength: float) -> None:
    found = drawn(Augment(operations=2, strength=strength))
    assert {len(each) for each in found} == {2}
    counts = Counter(name for each in found for name, _ in each)
    assert counts.keys() == set(NAMES) == BOUNDS.keys()
    assert min(counts.values()) > 40
    for each in found:
        for name, value in each:
            low, high = BOUNDS[name]
            assert low - 1e-9 <= value <= high + 1e-9


def test_at_strength_nothing_almost_nothing_is_done() -> None:
    none = {"posterize": 8, "solarize": 256, "brightness": 1, "contrast": 1, "saturation": 1, "sharpness": 1}
    for each in drawn(Augment(operations=1, strength=0.0)):
        for name, value in each:
            assert value == none.get(name, 0)


def test_it_moves_as_often_one_way_as_the_other() -> None:
    found = [op for each in drawn(Augment(operations=4)) for op in each if op.name == "translate_x"]
    share = sum(value > 0 for _, value in found) / len(found)
    assert 0.35 < share < 0.65


def test_jitter_comes_first_and_stays_within_its_share() -> None:
    found = drawn(Augment(jitter=0.4, operations=1))
    assert {tuple(name for name, _ in each[:3]) for each in found} == {
        ("brightness", "contrast", "saturation")
    }
    values = [value for each in found for _, value in each[:3]]
    assert 0.6 <= min(values) < 0.62
    assert 1.38 < max(values) <= 1.4


def test_the_sample_and_the_epoch_decide() -> None:
    augment = Augment(operations=2, jitter=0.2)
    assert drawn(augment, 20) == drawn(augment, 20)
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({tuple(draw(augment, plan.pixel_rng(*seed))) for seed in seeds}) == len(seeds)


def test_nothing_is_drawn_unless_it_is_asked_for() -> None:
    assert drawn(Augment(), 3) == [[], [], []]

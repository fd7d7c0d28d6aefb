import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting import curve
from pipeline.reporting.curve import Curve


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))  # a smaller extent is lost in the digits of a float
def test_ticks_are_few_round_and_enclose_the_values(low: float, extent: float) -> None:
    found = curve.ticks(low, low + extent)
    step = (found[-1] - found[0]) / (len(found) - 1)
    rounding = 1e-6 * step + 1e-9 * abs(low)
    assert found[0] <= low + rounding and found[-1] >= low + extent - rounding
    assert 2 <= len(found) <= 8
    mantissa = step / 10 ** math.floor(math.log10(step * 1.001))
    assert min(abs(mantissa - round_) for round_ in (1, 2, 5, 10)) < 1e-3


def test_a_long_curve_is_drawn_by_its_means() -> None:
    long = curve.of("x", 0, [(step, step % 2) for step in range(1000)])
    short = curve.thinned(long, most=100)
    assert (len(short.steps), short.values[0], short.steps[-1]) == (100, 0.5, 994)
    assert curve.thinned(short, most=100) is short


def test_numbers_that_are_none_leave_no_point() -> None:
    assert curve.of("x", 1, [(1, 2.0), (2, math.nan), (3, math.inf), (4, 5.0)]) == Curve(
        "x", 1, [1, 4], [2.0, 5.0]
    )


def test_a_few_values_far_above_the_others_do_not_flatten_them() -> None:
    assert curve.upper([1.0] * 30 + [500.0]) == 1.2
    assert curve.upper([1.0, 2.0, 5.0, 4.0]) == 5.0
    assert curve.upper([1.5, 5.4]) == 5.4  # of a few values, none is far from all others
    drawing = curve.svg([curve.of("x", 0, [(i, 1.0 + i % 2) for i in range(30)] + [(30, 500.0)])], "x")
    assert ">≥ 2.5<" in drawing and "500" not in drawing


def places(drawing: str) -> list[tuple[float, float]]:
    (points,) = re.findall(r'<polyline[^>]* points="([^"]*)"', drawing)
    return [(float(x), float(y)) for x, y in (place.split(",") for place in points.split())]


def test_points_lie_where_their_numbers_say() -> None:
    drawing = curve.svg([Curve("x", 0, [0, 50, 100], [0.0, 10.0, 5.0])], "x")
    left, top, right, floor = 62.0, 10.0, 504.0, 204.0
    assert places(drawing) == [(left, floor), ((left + right) / 2, top), (right, (top + floor) / 2)]


def axis(drawing: str) -> list[str]:
    return re.findall(r'<text x="[\d.]+" y="222" text-anchor="\w+">([^<]*)<', drawing)


def test_runs_with_longer_and_shorter_epochs_meet_on_an_axis_of_epochs() -> None:
    drawn = [Curve("x", i, [0, 4 * e, 8 * e], [0.0, 1.0, 2.0], i == 1, e) for i, e in enumerate((100, 25))]
    together = curve.svg(drawn, "x")
    assert axis(together) == ["epoch", "0", "2", "4", "6", "8"]
    lines = [re.sub(' class="[^"]*"', "", line) for line in re.findall(r"<polyline[^>]*>", together)]
    assert lines[0] == lines[1]
    assert "<title>x, epoch 4, step 100: 1</title>" in together
    # One that does not know its epochs keeps them from all.
    apart = curve.svg([drawn[0], Curve("y", 1, [800], [1.0])], "x")
    assert axis(apart)[:2] == ["step", "0"] and axis(apart)[-1] == "800"


def test_the_axis_ends_where_the_longest_run_does() -> None:
    long = Curve("x", 0, list(range(5, 5005, 5)), [1.0] * 1000, epoch_steps=100)
    assert axis(curve.svg([long], "x"))[-1] == "50"


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [-1.0, -1.0], [1e-9, 1e-9]])
def test_curves_without_extent_are_drawn(values: list[float]) -> None:
    drawing = curve.svg([Curve("x", 0, list(range(1, 1 + len(values))), values)], "x")
    assert all(10 <= y <= 204 for _, y in places(drawing))
    assert drawing.count("<circle") == (len(values) == 1)


def test_names_are_escaped_and_dots_tell_their_numbers() -> None:
    drawing = curve.svg([Curve("<b>", 9, [7], [0.25], marked=True)], '"')
    assert "<title>&lt;b&gt;, step 7: 0.25</title>" in drawing and 'aria-label="&quot;"' in drawing
    assert 'class="c1"' in drawing

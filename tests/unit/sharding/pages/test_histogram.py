import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.pages import histogram
from sharding.pages.histogram import Histogram


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], Histogram(7, 1, [1])),
        ([3, 5, 5], Histogram(3, 1, [1, 0, 2])),
        ([0, 59], Histogram(0, 2, [1, *[0] * 28, 1])),
        ([185_000, 603_000], Histogram(180_000, 20_000, [1, *[0] * 20, 1])),
    ],
)
def test_bins_are_round(values: list[int], expected: Histogram) -> None:
    assert histogram.of(values) == expected


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_every_value_is_counted_in_the_bin_that_holds_it(values: list[int]) -> None:
    made = histogram.of(values)
    assert sum(made.counts) == len(values) and len(made.counts) <= 31
    assert made.counts[0] and made.counts[-1]
    assert made.start % made.width == 0 and str(made.width).rstrip("0") in ("1", "2", "5")
    for i, count in enumerate(made.counts):
        begin = made.start + i * made.width
        assert count == sum(begin <= v < begin + made.width for v in values)


def texts(drawing: ET.Element, tag: str) -> list[str]:
    return ["".join(element.itertext()) for element in drawing.iter(tag)]


def test_the_drawing_has_a_bar_for_each_bin_and_labels_at_round_numbers() -> None:
    drawing = ET.fromstring(histogram.svg(Histogram(180, 20, [1, 0, 4, 2]), lambda v: f"<{v}>"))
    heights = [float(bar.attrib["height"]) for bar in drawing.iter("rect")]
    assert heights[1] == 0 and heights[2] == max(heights)
    assert heights[0] * 4 == pytest.approx(heights[2]) and heights[3] * 2 == pytest.approx(heights[2])
    assert texts(drawing, "title")[2] == "<220> to <240>: 4"
    assert texts(drawing, "text") == ["4", "0", "<180>", "<200>", "<220>", "<240>", "<260>"]


def test_a_bin_of_one_value_is_named_by_it() -> None:
    drawing = ET.fromstring(histogram.svg(Histogram(7, 1, [3])))
    assert texts(drawing, "title") == ["7: 3"]
    assert texts(drawing, "text") == ["3", "0", "7"]


def test_many_bins_have_some_labels() -> None:
    drawing = ET.fromstring(histogram.svg(Histogram(24, 1, [1] * 25)))
    assert texts(drawing, "text")[2:] == ["25", "30", "35", "40", "45"]

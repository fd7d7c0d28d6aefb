import math

import pytest

from sharding.pages import units


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (375_432, "375 kB"),
        (999_700, "1.00 MB"),
        (60.1e9, "60.1 GB"),
        (1.234e12, "1.23 TB"),
        (5.6e15, "5,600 TB"),
        (math.nan, "?"),
    ],
)
def test_sizes_have_three_digits(amount: float, text: str) -> None:
    assert units.size(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0512, "51.2 ms"), (1, "1.00 s"), (59.99, "1.00 min"), (8640, "2.40 h"), (4.5 * 86400, "4.50 days")],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text

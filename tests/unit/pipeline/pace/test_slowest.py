"""The rank that the others wait for, and its stage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pace.slowest import STAGES, slowest, waits

RANKS = st.lists(
    st.lists(st.floats(0, 100), min_size=len(STAGES), max_size=len(STAGES)), min_size=1, max_size=9
)
#          read decode hand over forward checkpoint
QUICK = [0.01, 0.02, 0.0, 0.30, 0.0]


@pytest.mark.parametrize(
    ("changes", "rank", "stage", "behind"),
    [
        ({2: [0.51, 0.02, 0.0, 0.30, 0.0]}, 2, "read", 0.5),
        ({1: [0.01, 0.32, 0.0, 0.30, 0.0]}, 1, "decode", 0.3),
        ({3: [0.01, 0.02, 0.2, 0.30, 0.0]}, 3, "hand over", 0.2),
        ({0: [0.01, 0.02, 0.0, 0.30, 0.4]}, 0, "checkpoint", 0.4),
        # The longest stage of a slow GPU is that of all; of a slow store it is not what it is behind in.
        ({1: [0.01, 0.02, 0.0, 0.40, 0.0]}, 1, "forward", 0.1),
        ({1: [0.21, 0.02, 0.0, 0.30, 0.0]}, 1, "read", 0.2),
    ],
)
def test_the_slowest_is_named_with_what_it_is_behind_in(
    changes: dict[int, list[float]], rank: int, stage: str, behind: float
) -> None:
    found = slowest([changes.get(rank, QUICK) for rank in range(4)])
    assert (found.rank, found.stage) == (rank, stage)
    assert found.behind == pytest.approx(behind)


def test_one_rank_is_behind_none_and_has_its_longest_stage() -> None:
    assert slowest([[0.2, 0.1, 0.0, 0.15, 0.0]]) == (0, "read", 0.0)


def test_the_first_of_equals_is_named() -> None:
    assert slowest([QUICK] * 3).rank == 0


@given(RANKS)
def test_nobody_waits_for_the_slowest_but_the_others(rows: list[list[float]]) -> None:
    waited = waits(rows)
    assert waited[slowest(rows).rank] == 0
    assert all(seconds >= 0 for seconds in waited)
    for row, seconds in zip(rows, waited, strict=True):
        assert sum(row) + seconds == pytest.approx(max(sum(row) for row in rows))

"""What is said of a run that was killed and went on: by a run of twelve samples, two a step, over three epochs."""

import pytest

from benchmarks.resume_conformance import cell
from benchmarks.resume_verdict import Run, Steps, judged, outcome, together


def epoch(number: int) -> Steps:
    """Its six steps: another order in each epoch."""
    order = [(5 * place + number) % 12 for place in range(12)]
    return [order[first : first + 2] for first in range(0, 12, 2)]


UNDISTURBED: Run = {number: epoch(number) for number in range(3)}


def said(at: int, done: int, resumed: Run) -> str:
    """Of a run that was killed in epoch `at`, whose state was kept after `done` steps of it."""
    before = {number: epoch(number) for number in range(at)} | {at: epoch(at)[:done]}
    return cell(*judged(UNDISTURBED, before, resumed))


def test_a_run_that_goes_on_with_the_next_sample_is_exact() -> None:
    assert said(0, 2, {0: epoch(0)[2:], 1: epoch(1), 2: epoch(2)}) == "exact"
    assert said(1, 2, {1: epoch(1)[2:], 2: epoch(2)}) == "exact"


def test_ranks_may_have_other_shares_of_a_batch() -> None:
    rest = [ids[::-1] for ids in epoch(0)[2:]]
    assert said(0, 2, {0: rest, 1: epoch(1), 2: epoch(2)}) == "exact"


def test_samples_are_lost_and_repeated() -> None:
    later = {1: epoch(1), 2: epoch(2)}
    assert said(0, 2, {0: epoch(0)[3:], **later}) == "2 lost; then exact"
    assert said(0, 2, {0: epoch(0)[1:], **later}) == "2 repeated; then exact"
    assert said(0, 2, {0: epoch(0), **later}) == "4 repeated; then exact"
    assert said(0, 2, {0: [*epoch(0)[1:5]], **later}) == "2 lost, 2 repeated; then exact"
    assert said(0, 2, later) == "8 lost; then exact"


def test_every_sample_once_in_other_batches_is_another_order() -> None:
    rest = epoch(0)[2:]
    assert said(0, 2, {0: rest[::-1], 1: epoch(1), 2: epoch(2)}) == "other order; then exact"
    moved = [[rest[0][0], rest[1][0]], [rest[0][1], rest[1][1]], *rest[2:]]
    assert said(0, 2, {0: moved, 1: epoch(1), 2: epoch(2)}) == "other order; then exact"


def test_later_epochs_count() -> None:
    assert said(0, 2, {0: epoch(0)[2:], 1: epoch(2), 2: epoch(1)}) == "exact; then other order"
    assert said(0, 2, {0: epoch(0)[2:], 1: epoch(1)}) == "exact; then 12 lost"
    assert said(2, 2, {2: epoch(2)[2:]}) == "exact"


@pytest.mark.parametrize(
    "resumed",
    [
        {1: epoch(1), 2: epoch(2)},  # an empty pass first, and then the next epoch
        {0: epoch(1), 1: epoch(2)},  # the next epoch at once
        {0: epoch(1), 1: epoch(2), 2: epoch(0)},
    ],
)
def test_at_an_epochs_end_the_next_one_comes(resumed: Run) -> None:
    assert said(0, 6, resumed) == "exact"


def test_an_epoch_that_comes_again_or_never_is_seen() -> None:
    assert said(0, 6, UNDISTURBED) == "12 repeated; then exact"
    assert said(0, 6, {1: epoch(2)}) == "other order; then 12 lost"


def test_ranks_make_up_the_steps_of_a_run() -> None:
    ranks = [[(0, 1, [1]), (0, 2, [2]), (1, 1, [5])], [(0, 1, [3]), (0, 2, [4]), (1, 1, [6])]]
    assert together(ranks) == {0: [[1, 3], [2, 4]], 1: [[5, 6]]}


def test_a_sample_that_comes_three_times_is_repeated_twice() -> None:
    assert outcome([[1, 2, 3]], [[1, 1, 1]]).repeated == 2
    assert outcome([[1, 2, 3]], [[1, 1, 1]]).lost == 2

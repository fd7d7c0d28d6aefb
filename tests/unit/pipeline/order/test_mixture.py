"""The order of several sets: properties over any sizes, weights, lanes and epochs; and that it never changes."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from pipeline.order import mixture, plan
from pipeline.order.plan import Order

sizes = st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any)
weights = st.one_of(st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.0]), st.floats(0.02, 4))
sets = st.lists(st.tuples(sizes, weights), min_size=1, max_size=4)
orders = st.builds(Order, seed=st.integers(0, 2**32), lanes=st.integers(1, 40), window=st.integers(1, 50))
epochs = st.integers(0, 30)
Sets = list[tuple[list[int], float]]


def shares(mixed: Sets) -> list[int]:
    return [mixture.share(weight, sum(sizes)) for sizes, weight in mixed]


def planned(mixed: Sets, order: Order, epoch: int) -> list[tuple[int, int]]:
    """An epoch's samples in the order of use: number of the set, and place in it."""
    order_of = mixture.epoch_order([np.array(sizes) for sizes, _ in mixed], shares(mixed), order, epoch)
    everything = [(i, place) for i, (sizes, _) in enumerate(mixed) for place in range(sum(sizes))]
    return [everything[place] for place in order_of]


@given(sizes, orders, epochs)
def test_one_set_alone_has_the_order_that_it_always_had(sizes: list[int], order: Order, epoch: int) -> None:
    alone = mixture.epoch_order([np.array(sizes)], [sum(sizes)], order, epoch)
    assert alone.tolist() == plan.epoch_order(np.array(sizes), order, epoch).tolist()


@how(deadline=None)
@given(sets, orders, st.integers(1, 6))
def test_an_epoch_has_each_sets_share_and_no_sample_comes_again_before_all_have_come(
    mixed: Sets, order: Order, epochs: int
) -> None:
    times: Counter[tuple[int, int]] = Counter()
    for epoch in range(epochs):
        used = planned(mixed, order, epoch)
        assert [sum(i == one for i, _ in used) for one in range(len(mixed))] == shares(mixed)
        times.update(used)
        for i, (sizes, _) in enumerate(mixed):
            all_, taken = sum(sizes), shares(mixed)[i] * (epoch + 1)
            found = [times[i, place] for place in range(all_)]
            assert sum(found) == taken
            assert set(found) <= {taken // all_, -(-taken // all_)}


@how(deadline=None)
@given(sets, orders, epochs)
def test_lanes_are_as_long_as_those_of_one_set_and_take_each_sets_sequence_one_after_another(
    mixed: Sets, order: Order, epoch: int
) -> None:
    made = mixture.epoch([np.array(sizes) for sizes, _ in mixed], shares(mixed), order, epoch)
    lanes = [mixture.lane(made, number) for number in range(order.lanes)]
    total = sum(shares(mixed))
    lengths = [plan.lane_length(total, order.lanes, n) for n in range(order.lanes)]
    assert [len(lane.sets) for lane in lanes] == lengths
    for i, (sizes, _) in enumerate(mixed):
        taken, all_ = shares(mixed)[i], sum(sizes)
        # The rule's words, pass after pass, beside what the lanes have one after another.
        raw: list[tuple[int, int]] = []
        for number in range((epoch + 1) * taken // all_ + 1):
            order_of = plan.shard_permutation(len(sizes), made.parts[i].seed, number).tolist()
            raw += [(shard, row) for shard in order_of for row in range(sizes[shard])]
        pieces = [piece for lane in lanes for piece in lane.strands[i].pieces]
        found = [(piece.shard, row) for piece in pieces for row in range(piece.first, piece.stop)]
        assert found == raw[epoch * taken : (epoch + 1) * taken]
        for lane in lanes:
            in_order = lane.strands[i].order
            assert sorted(in_order) == list(range(np.count_nonzero(lane.sets == i)))
            window = -(-order.window * len(in_order) // max(len(lane.sets), 1))
            assert all(abs(raw - position) < window for position, raw in enumerate(in_order))


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5))
def test_each_set_has_its_share_and_every_set_comes_at_once(shares: list[int]) -> None:
    total = sum(shares)
    sets = mixture.sets_of(np.arange(total), shares)
    assert np.bincount(sets, minlength=len(shares)).tolist() == shares
    for i, share in enumerate(shares):
        apart = np.diff(np.flatnonzero(sets == i), prepend=-1)
        assert apart.max() <= 5 * total / share + 5


MOST_APART = {8: 3, 64: 4, 512: 5, 4096: 6}
"""By how many clips at most a set's part of so many in a row differs from its share; `docs/mixing.md` says it."""


@how(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 20_000), min_size=2, max_size=5))
def test_any_stretch_of_an_epoch_has_each_sets_share(shares: list[int]) -> None:
    total = sum(shares)
    sets = mixture.sets_of(np.arange(total), shares)
    for i, share in enumerate(shares):
        before = np.concatenate([[0], np.cumsum(sets == i)])
        for stretch, most in MOST_APART.items():
            if stretch <= total:
                there = before[stretch:] - before[:-stretch]
                assert np.abs(there - stretch * share / total).max() <= most


@pytest.mark.parametrize("ranks", [2, 4, 8, 16, 64])
@pytest.mark.parametrize("shares", [[168_913, 86_017], [1000, 500], [1 << 14, 1 << 14], [999, 1]])
def test_every_rank_has_each_sets_share(shares: list[int], ranks: int) -> None:
    total = sum(shares)
    for rank in range(ranks):
        sets = mixture.sets_of(np.arange(rank, total, ranks), shares)
        part = np.count_nonzero(sets == 0)
        assert abs(part - len(sets) * shares[0] / total) <= 8


@pytest.mark.parametrize(
    ("mixed", "order", "epoch", "first", "digest"),
    [
        ([([128] * 40, 1), ([60, 7], 0.5)], Order(0, 64, 16), 3, [2, 83, 162], "590d69761a7e5805"),
        (
            [([7, 5, 0, 9], 1), ([4, 6], 2), ([11], 0.3)],
            Order(2**63, 8, 6),
            5,
            [7, 24, 12],
            "dd049d37bc8b6ddd",
        ),
    ],
)
def test_an_order_is_what_it_was_when_runs_began_with_it(
    mixed: Sets, order: Order, epoch: int, first: list[int], digest: str
) -> None:
    found = mixture.epoch_order([np.array(sizes) for sizes, _ in mixed], shares(mixed), order, epoch)
    assert found[:3].tolist() == first
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == digest

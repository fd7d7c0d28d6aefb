"""The order of samples: properties over any shards, lanes, consumers and starting points; and that it never changes."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.order import plan
from pipeline.order.plan import (
    Order,
    Piece,
    cut,
    first_position,
    front,
    lane_length,
    lane_order,
    lane_pieces,
    lane_start,
    lanes_of,
    numbers,
    raw_sequence,
    readers_per_lane,
    steps_in_epoch,
)

shards = st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 0)
orders = st.builds(Order, seed=st.integers(0, 2**32), lanes=st.integers(1, 40), window=st.integers(1, 50))
epochs = st.integers(0, 100)


def epoch_order(sizes: list[int], order: Order, epoch: int) -> list[tuple[int, int]]:
    """All samples (shard, row) in the order of their number n, straight from the rule's three sentences."""
    samples = sum(sizes)
    lanes = []
    for lane in range(order.lanes):
        pieces = lane_pieces(raw_sequence(np.array(sizes), order, epoch), lane)
        raw = [(piece.shard, row) for piece in pieces for row in range(piece.first, piece.stop)]
        lanes.append([raw[i] for i in lane_order(len(raw), order, epoch, lane)])
    return [lanes[n % order.lanes][n // order.lanes] for n in range(samples)]


@given(shards, orders, epochs)
def test_every_sample_is_used_once(sizes: list[int], order: Order, epoch: int) -> None:
    everything = [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    assert sorted(epoch_order(sizes, order, epoch)) == everything


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=8),
    st.integers(0, 70),
    st.integers(0, 70),
)
def test_a_cut_of_a_lane_is_that_part_of_its_raw_sequence(
    spans: list[tuple[int, int]], start: int, stop: int
) -> None:
    pieces = [Piece(shard, first, first + length) for shard, (first, length) in enumerate(spans)]
    raw = [(piece.shard, row) for piece in pieces for row in range(piece.first, piece.stop)]
    parts = cut(pieces, start, stop)
    found = [(at + i, (p.shard, p.first + i)) for at, p in parts for i in range(p.stop - p.first)]
    assert found == list(enumerate(raw))[start:stop]


@given(st.integers(0, 400), orders, st.integers(0, 400), st.integers(1, 5))
def test_what_earlier_positions_left_behind_is_less_than_a_window(
    length: int, order: Order, first: int, step: int
) -> None:
    positions = lane_order(length, order, epoch=0, lane=0)
    earlier = [raw for position, raw in enumerate(positions) if position in range(first % step, first, step)]
    used = positions[first % step : first : step]
    assert front(used) == max(earlier, default=-1) + 1
    assert sum(raw < front(used) for raw in positions[first:]) < order.window


@given(shards, orders, epochs)
def test_a_whole_epochs_order_is_that_of_its_lanes(sizes: list[int], order: Order, epoch: int) -> None:
    everything = [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    whole = [everything[i] for i in plan.epoch_order(np.array(sizes), order, epoch)]
    assert whole == epoch_order(sizes, order, epoch)


@given(st.integers(0, 500), st.integers(1, 60))
def test_lanes_are_contiguous_and_balanced(samples: int, lanes: int) -> None:
    lengths = [lane_length(samples, lanes, lane) for lane in range(lanes)]
    assert sum(lengths) == samples
    assert max(lengths) - min(lengths) <= 1
    assert [lane_start(samples, lanes, lane) for lane in range(lanes)] == [
        sum(lengths[:lane]) for lane in range(lanes)
    ]


@given(st.integers(0, 400), orders, epochs)
def test_no_sample_moves_as_far_as_the_window(length: int, order: Order, epoch: int) -> None:
    positions = lane_order(length, order, epoch, lane=0)
    assert sorted(positions) == list(range(length))
    assert all(abs(raw - position) < order.window for position, raw in enumerate(positions))


@given(st.integers(0, 300), st.integers(1, 20), st.integers(1, 8), st.integers(1, 5), st.integers(0, 300))
def test_consumers_share_any_range_without_gap_or_overlap(
    samples: int, global_batch: int, ranks: int, workers: int, start: int
) -> None:
    taken = {
        (rank, worker): list(numbers(start, samples, rank + ranks * worker, ranks * workers))
        for rank in range(ranks)
        for worker in range(workers)
    }
    assert sorted(n for ns in taken.values() for n in ns) == list(range(start, samples))
    assert all(n % ranks == rank for (rank, _), ns in taken.items() for n in ns)


@given(st.integers(1, 300), st.integers(1, 24), st.integers(1, 24), st.integers(0, 300))
def test_a_consumer_finds_its_numbers_by_stepping_through_its_lanes(
    samples: int, lanes: int, consumers: int, start: int
) -> None:
    step = readers_per_lane(consumers, lanes)
    for consumer in range(consumers):
        found = []
        for lane in lanes_of(consumer, consumers, lanes):
            first = first_position(start, lane, consumer, consumers, lanes)
            positions = range(first, lane_length(samples, lanes, lane), step)
            found += [position * lanes + lane for position in positions]
        assert sorted(found) == list(numbers(start, samples, consumer, consumers))


@given(st.integers(1, 24), st.integers(1, 12))
def test_each_lane_has_one_reader_where_the_consumers_divide_the_lanes(consumers: int, factor: int) -> None:
    lanes = consumers * factor
    assert readers_per_lane(consumers, lanes) == 1
    read = [lane for consumer in range(consumers) for lane in lanes_of(consumer, consumers, lanes)]
    assert sorted(read) == list(range(lanes))


@given(shards, orders, epochs)
def test_the_order_repeats_for_the_same_seed_and_epoch(sizes: list[int], order: Order, epoch: int) -> None:
    assert epoch_order(sizes, order, epoch) == epoch_order(sizes, order, epoch)


def test_two_epochs_and_two_seeds_differ() -> None:
    sizes = [50] * 4
    first = epoch_order(sizes, Order(seed=1, lanes=3, window=16), epoch=0)
    assert first != epoch_order(sizes, Order(seed=1, lanes=3, window=16), epoch=1)
    assert first != epoch_order(sizes, Order(seed=2, lanes=3, window=16), epoch=0)


@given(st.integers(0, 1000), st.integers(1, 64))
def test_steps_of_an_epoch(samples: int, global_batch: int) -> None:
    full = steps_in_epoch(samples, global_batch)
    assert full * global_batch <= samples < (full + 1) * global_batch
    every = steps_in_epoch(samples, global_batch, drop_last=False)
    assert (every - 1) * global_batch < samples <= every * global_batch


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_ten_million_samples_are_planned_for_one_lane_in_proportion_to_the_lane(seed: int) -> None:
    sizes = np.full(20_000, 500)
    order = Order(seed=seed, lanes=18_432, window=256)
    pieces = lane_pieces(raw_sequence(sizes, order, 0), 7_000)
    length = sum(piece.stop - piece.first for piece in pieces)
    assert length == lane_length(10_000_000, order.lanes, 7_000)
    assert len(lane_order(length, order, 0, 7_000)) == length


@pytest.mark.parametrize(
    ("sizes", "order", "epoch", "first", "digest"),
    [
        ([128] * 40 + [57], Order(0, 64, 16), 0, [3458, 3537, 4387], "ca7b3144436f5b28"),
        ([128] * 40 + [57], Order(3, 4, 256), 2, [3857, 1960, 3245], "62a191e033723b3d"),
        ([7, 5, 0, 9, 4, 6], Order(2**63, 8, 6), 5, [12, 16, 20], "7c8a8f772b9fed88"),
        ([1000] * 3, Order(7, 18, 1), 1, [1000, 1167, 1334], "7091941ef94ea3d0"),
    ],
)
def test_an_order_is_what_it_was_when_runs_began_with_it(
    sizes: list[int], order: Order, epoch: int, first: list[int], digest: str
) -> None:
    found = plan.epoch_order(np.array(sizes), order, epoch)
    assert found[:3].tolist() == first
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == digest


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 16_383, 16_384, 10**7]))
def test_by_default_each_lane_has_one_reader_and_there_are_enough_for_a_batch(
    consumers: int, global_batch: int, samples: int
) -> None:
    lanes = plan.default_lanes(consumers, global_batch, samples)
    assert readers_per_lane(consumers, lanes) == 1
    least = 64 if samples >= 16_384 else 1
    assert lanes >= max(least, min(512, global_batch)) > lanes - consumers


@pytest.mark.parametrize("global_batch", [8, 16, 32, 64])
@pytest.mark.parametrize("samples", [180, 500, 2000, 5000])
def test_in_a_small_set_too_a_sample_has_other_company_in_every_epoch(
    samples: int, global_batch: int
) -> None:
    sizes = np.array([128] * (samples // 128) + [samples % 128])
    lanes = plan.default_lanes(4, global_batch, samples)
    order, steps = Order(1, lanes, plan.lane_window(1024, lanes)), samples // global_batch
    again, before = [], None
    for epoch in range(8):
        batch_of = np.full(samples, -1)
        taken = plan.epoch_order(sizes, order, epoch)[: steps * global_batch]
        batch_of[taken] = np.repeat(np.arange(steps), global_batch)
        if before is not None:
            both = (before >= 0) & (batch_of >= 0)
            mates = np.unique(before[both] * (steps + 1) + batch_of[both], return_counts=True)[1]
            were = np.bincount(before[both])
            again.append((mates * (mates - 1)).sum() / (were * (were - 1)).sum())
        before = batch_of
    # Of a uniform shuffle it is 1.0; with 64 lanes and batches of 8 it was 4 to 8.
    assert np.mean(again) / ((global_batch - 1) / (samples - 1)) < 1.8


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_lanes_share_the_runs_window(window: int, lanes: int) -> None:
    share = plan.lane_window(window, lanes)
    assert share >= 1
    assert window <= share * lanes < window + lanes

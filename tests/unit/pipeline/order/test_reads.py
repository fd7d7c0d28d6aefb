"""What a node opens and holds: no less than its readers do, whatever their number."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.order import mixture, plan
from pipeline.order.reads import Reads, reads


def test_the_shipped_settings() -> None:
    order = plan.Order(0, lanes=64, window=16)
    assert reads(order, samples=168_913, consumers=4, here=4) == Reads(lanes=64, held=1024, times=1)
    assert reads(order, samples=168_913, consumers=64, here=32) == Reads(lanes=32, held=512, times=1)
    assert reads(order, samples=168_913, consumers=96, here=96) == Reads(lanes=192, held=3072, times=3)
    several = reads(order, samples=168_913, consumers=4, here=4, sets=3)
    assert several == Reads(lanes=192, held=1152, times=1)


@given(st.integers(1, 300), st.integers(1, 24), st.integers(1, 12), st.integers(1, 8), st.integers(1, 8))
def test_no_consumer_holds_more(samples: int, lanes: int, window: int, nodes: int, here: int) -> None:
    order, consumers = plan.Order(0, lanes, window), nodes * here
    needs = reads(order, samples, consumers, here)
    most = 0
    for consumer in range(here):
        for lane in plan.lanes_of(consumer, consumers, lanes):
            positions = plan.lane_order(plan.lane_length(samples, lanes, lane), order, 0, lane)
            read = np.maximum.accumulate(positions) + 1
            most += max((read - np.arange(len(read))).tolist(), default=0)
    assert most <= needs.held
    assert needs.lanes == sum(len(plan.lanes_of(c, consumers, lanes)) for c in range(here))


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 6),
)
def test_no_lane_of_several_sets_holds_more(shares: list[int], lanes: int, window: int, epoch: int) -> None:
    order = plan.Order(0, lanes, window)
    made = mixture.epoch([np.array([share]) for share in shares], shares, order, epoch)
    for number in range(lanes):
        held = 0
        for strand in mixture.lane(made, number).strands:
            read = np.maximum.accumulate(strand.order) + 1
            held += max((read - np.arange(len(read))).tolist(), default=0)
        assert held <= reads(order, sum(shares), lanes, lanes, len(shares)).held / lanes

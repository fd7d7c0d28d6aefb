"""Lanes that are opened by threads: the samples are the reader's, and none is kept after its turn."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.data.lane_reader import LaneReader
from pipeline.data.lanes import Lanes
from pipeline.order.plan import Order
from tests import shards


def test_the_samples_are_the_readers_and_the_first_is_let_go(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [9, 7])
    order = Order(seed=0, lanes=2, window=4)
    with ThreadPoolExecutor(2) as threads:
        lanes = Lanes(range(2), lambda lane: LaneReader(split, order, 0, lane), threads)
        for lane in range(2):
            span = lanes.next(lane)
            first, keys = weakref.ref(span), [span.row.key]
            for _ in range(7):
                span = lanes.next(lane)
                keys.append(span.row.key)
            assert keys == [span.row.key for span in LaneReader(split, order, 0, lane)]
            assert first() is None

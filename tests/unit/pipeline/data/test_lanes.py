"""Lanes that are opened by threads: the samples are the reader's, and none is kept after its turn."""

import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.lanes import Lanes
from pipeline.data.shards import KeptSidecars, StoredShards
from pipeline.order.plan import Order
from sharding.errors import UserError
from sharding.format.rows import SampleRow
from tests import shards


def test_the_samples_are_the_readers_and_the_first_is_let_go(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [9, 7])
    order = Order(seed=0, lanes=2, window=4)
    with ThreadPoolExecutor(2) as threads:
        lanes = Lanes(range(2), lambda lane: LaneReader(split, epoch_of(split, order, 0), lane), threads)
        for lane in range(2):
            span = lanes.next(lane)
            first, keys = weakref.ref(span), [span.row.key]
            for _ in range(7):
                span = lanes.next(lane)
                keys.append(span.row.key)
            assert keys == [span.row.key for span in LaneReader(split, epoch_of(split, order, 0), lane)]
            assert first() is None


@dataclass(frozen=True)
class Asked(StoredShards):
    """Shards that keep for which of them a sidecar was asked, and make everybody wait for it."""

    sidecars: list[int] = field(default_factory=list)

    def rows(self, shard: int) -> list[SampleRow]:
        self.sidecars.append(shard)
        time.sleep(0.05)
        return super().rows(shard)


def test_lanes_that_meet_in_a_shard_ask_for_one_sidecar(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [9, 7, 8])
    epoch = epoch_of(split, Order(seed=0, lanes=16, window=2), 0)
    asked = Asked(split)
    kept = KeptSidecars(asked, lanes=16)
    with ThreadPoolExecutor(8) as threads:
        lanes = Lanes(range(16), lambda lane: LaneReader(split, epoch, lane, shards=kept), threads)
        lanes.finish()
    assert sorted(asked.sidecars) == [0, 1, 2]


def test_as_many_sidecars_are_kept_as_the_lanes_need_and_no_more(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [1] * 10)
    asked = Asked(split)
    kept = KeptSidecars(asked, lanes=1)
    for shard in (*range(10), 9, 2, 1):
        assert kept.rows(shard) == StoredShards(split).rows(shard)
    assert asked.sidecars == [*range(10), 1]


def test_a_sidecar_that_fails_fails_for_all_who_wait_and_is_asked_for_again(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [2])
    sidecar = Path(split.sidecar_url(0))
    sound = sidecar.read_bytes()
    sidecar.write_bytes(b"{}")
    kept = KeptSidecars(Asked(split), lanes=1)
    with ThreadPoolExecutor(4) as threads:
        for waiting in [threads.submit(kept.rows, 0) for _ in range(4)]:
            with pytest.raises(UserError, match=r"shard-000000\.json"):
                waiting.result()
    sidecar.write_bytes(sound)
    assert len(kept.rows(0)) == 2


def test_a_process_may_open_more_lanes_than_its_usual_limit_of_files(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [150], frames=1, width=16, height=16)
    program = f"""
import resource
from concurrent.futures import ThreadPoolExecutor
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.lanes import Lanes, allow_open_files
from pipeline.order.plan import Order
from sharding.format import manifest

split = manifest.load({split.root!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
allow_open_files()
epoch = epoch_of(split, Order(seed=0, lanes=75, window=1), 0)
with ThreadPoolExecutor(8) as threads:
    lanes = Lanes(range(75), lambda lane: LaneReader(split, epoch, lane), threads)
    print(len({{lanes.next(lane).row.key for lane in range(75)}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "75\n", done.stderr

"""Lanes in a bucket, seen from the store's side: how much is asked for, and what faults do to it."""

import re
from collections.abc import Iterator
from itertools import chain, cycle
from pathlib import Path

import pytest

from pipeline import config
from pipeline.data.clips import eval_cutter
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.loader import batches
from pipeline.data.samples import checked
from pipeline.data.shards import Shards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.storage import patience
from tests import shards
from tests.cached import cached
from tests.faults import Fault, FaultProxy, Request, fault_proxy
from tests.stores import S3Server, fresh_clients

pytestmark = [
    pytest.mark.store,
    # The proxy leaves a connection that a client dropped to the collector now and then.
    pytest.mark.filterwarnings(r"ignore:Exception ignored in. <(socket.socket|function _SelectorTransport)"),
]

SHARDS = [9, 14, 11, 8, 12, 10]  # 64 samples
ORDER = plan.Order(seed=2, lanes=8, window=6)


@pytest.fixture
def proxy(s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy before the S3 server, through which this process reaches it, with short waits."""
    monkeypatch.setattr(patience, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr(patience, "BACKOFF_S", 0.02)
    monkeypatch.setattr(patience, "BACKOFF_MAX_S", 0.1)
    with fault_proxy(int(s3_server.endpoint.rpartition(":")[2])) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", found.endpoint)
        with fresh_clients():
            yield found


@pytest.fixture
def split(s3: str, proxy: FaultProxy) -> Manifest:
    """Shards in the bucket; their making is forgotten."""
    made = shards.make(s3, SHARDS, frames=6, width=80, height=60)
    proxy.requests.clear()
    return made


@pytest.fixture
def big(s3: str, proxy: FaultProxy) -> Manifest:
    """One shard of some megabytes: more than what is read at a time."""
    made = shards.make(s3, [10], frames=60, width=160, height=120)
    proxy.requests.clear()
    return made


def epoch(split: Manifest, consumers: int, source: Shards | None = None) -> dict[int, str]:
    """Reads one epoch with so many consumers, one after another: the key of each number."""
    tree = {"data": {"root": "unused", "size": 32, "short_side": 32}, "run": {"folder": "unused"}}
    cutter = eval_cutter(config.override(tree, ["model.num_frames=2"], "test"))
    # Worker w of rank r of R is consumer r + R * w of all: here each is a rank of its own.
    streams = [
        ClipStream(split, cutter, ORDER, Passes(8), number, consumers, source) for number in range(consumers)
    ]
    parts = chain.from_iterable(batches(stream, workers=0) for stream in streams)
    return {number: key for part in parts for number, key in zip(part.numbers, part.keys, strict=True)}


def answered(proxy: FaultProxy) -> int:
    return sum(request.answered for request in proxy.requests)


def of_tars(proxy: FaultProxy) -> list[Request]:
    return [request for request in proxy.requests if ".tar" in request.target]


def test_two_ranks_of_two_workers_read_the_data_set_once(split: Manifest, proxy: FaultProxy) -> None:
    whole = sum(shard.bytes for shard in split.shards)
    keys = epoch(split, consumers=2 * 2)
    assert sorted(keys.values()) == sorted(f"clip-{sample}" for sample in range(64))
    # Everything counts, sidecars and the ends of tars too. (Samples are some 20 times larger in earnest.)
    assert 0.9 * whole < answered(proxy) <= 1.1 * whole


def test_kept_shards_are_not_asked_for_again(split: Manifest, proxy: FaultProxy, tmp_path: Path) -> None:
    keys = epoch(split, 4, cached(split, tmp_path))
    first = [request for request in of_tars(proxy) if not request.headers["range"].startswith("bytes=0-")]
    assert len(of_tars(proxy)) - len(first) == len(SHARDS)  # each from its start on, and kept, once
    proxy.requests.clear()
    assert epoch(split, 4, cached(split, tmp_path)) == keys
    assert proxy.requests == []


def test_consumers_that_do_not_divide_the_lanes_use_the_same_order_and_read_as_often_as_is_said(
    split: Manifest, proxy: FaultProxy
) -> None:
    whole = sum(shard.bytes for shard in split.shards)
    keys = epoch(split, consumers=3)
    times = plan.readers_per_lane(3, ORDER.lanes)
    assert times == 3
    assert 0.5 * times * whole < answered(proxy) <= 1.1 * times * whole
    assert keys == epoch(split, consumers=1)


def test_a_lane_comes_whole_and_in_order_through_a_bad_day(split: Manifest, proxy: FaultProxy) -> None:
    calm = [span.row.key for lane in range(8) for span in LaneReader(split, epoch_of(split, ORDER, 0), lane)]
    proxy.requests.clear()
    broken = [Fault(status=503), Fault(reset_download=9000), None, Fault(reset_download=20_000)]
    silent = [Fault(hang=5), Fault(reset_download=9000, hang=5)]  # before the answer, and in the midst of it
    faults = cycle([*broken, silent[0], *broken, silent[1], *broken])
    proxy.decide = lambda request: next(faults) if ".tar" in request.target else None
    found = [
        checked(span).row.key
        for lane in range(8)
        for span in LaneReader(split, epoch_of(split, ORDER, 0), lane)
    ]
    assert found == calm
    assert len(of_tars(proxy)) > 20


def test_a_broken_read_goes_on_at_its_byte_and_no_further_than_its_end(
    big: Manifest, proxy: FaultProxy
) -> None:
    faults = [Fault(reset_download=700_000)]
    proxy.decide = lambda request: faults.pop() if ".tar" in request.target and faults else None
    assert (
        len([checked(span) for span in LaneReader(big, epoch_of(big, plan.Order(0, 2, 2), 0), lane=0)]) == 5
    )
    first, again = [re.findall(r"\d+", request.headers["range"]) for request in of_tars(proxy)[:2]]
    assert int(first[0]) < int(again[0]) <= int(first[0]) + 700_000
    assert first[1] == again[1]
    assert "if-match" in of_tars(proxy)[1].headers


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(status=503), "HTTP 503"),
        (Fault(reset_download=0), "Connection"),
        (Fault(hang=5), "[Tt]imeout|timed out"),
    ],
)
def test_a_store_that_is_gone_in_mid_shard_is_told_with_shard_byte_and_cause(
    split: Manifest, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault, cause: str
) -> None:
    monkeypatch.setattr(patience, "TOTAL_S", 0.3)
    faults: list[Fault] = []

    def decide(request: Request) -> Fault | None:
        if ".tar" not in request.target:
            return None
        faults.append(fault)
        return Fault(reset_download=9000) if len(faults) == 1 else fault

    proxy.decide = decide
    with fresh_clients(), pytest.raises(UserError) as caught:
        list(LaneReader(split, epoch_of(split, ORDER, 0), lane=3))
    told = rf"{split.root}/shard-\d+\.tar: cannot read on at byte \d+ of \d+: .*({cause})"
    assert re.match(told, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
    assert len(faults) <= 1 + 3 * 3


def test_a_shard_that_is_replaced_in_mid_read_is_told(big: Manifest, proxy: FaultProxy) -> None:
    replaced: list[str] = []

    def decide(request: Request) -> Fault | None:
        if request.method != "GET" or ".tar" not in request.target or replaced:
            return None
        replaced.append(f"s3://{request.target.partition('?')[0].strip('/')}")
        return Fault(reset_download=700_000)

    proxy.decide = decide
    reader = iter(LaneReader(big, epoch_of(big, plan.Order(0, 1, 1), 0), lane=0))
    checked(next(reader))
    storage.write_bytes(replaced[0], bytes(big.bytes))
    with pytest.raises(UserError, match=rf"{replaced[0]}: cannot read on at byte .* replaced or removed"):
        list(reader)

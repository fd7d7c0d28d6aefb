"""Tars that others made, through the stream: in exact order, whoever reads them, killed and resumed."""

from pathlib import Path

import pytest
import torch
import webdataset

from pipeline import config
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.loader import batches
from pipeline.data.shards import KeptSidecars, StoredShards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import mixture, plan
from sharding import storage
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest
from tests import foreign
from tests.cached import cached
from tests.faults import FaultProxy, Request, fault_proxy
from tests.stores import S3Server, fresh_clients

SHARDS = [7, 5, 9, 4, 6]  # 31 samples
BATCH = 4
ORDER = plan.Order(seed=3, lanes=8, window=8)
Steps = dict[tuple[int, int], list[str]]


def settings(*overrides: str) -> config.Config:
    small = ["model.num_frames=2", "data.size=32", "data.short_side=32"]
    tree = {"data": {"root": "unused"}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *overrides], "test")


def pictures(folder: Path) -> None:
    foreign.img2dataset(folder, SHARDS)


def films(folder: Path) -> None:
    foreign.video2dataset(folder, SHARDS)


def written(folder: Path) -> None:
    """By webdataset itself, with the same keys in every tar."""
    folder.mkdir()
    sample = 0
    for number, count in enumerate(SHARDS):
        with webdataset.TarWriter(str(folder / f"{number:02d}.tar")) as sink:
            for i in range(count):
                sink.write({"__key__": f"{i:04d}", "jpg": foreign.jpeg(sample), "txt": f"class-{sample % 3}"})
                sample += 1


@pytest.fixture(scope="module", params=[pictures, films, written])
def split(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("tars")
    request.param(folder / "tars")
    return foreign.indexed([folder / "tars"], folder / "index" / "train", label="txt")


def keys(split: Manifest, ranks: int, workers: int = 0, passes: Passes | None = None) -> Steps:
    """The keys of every global batch, by (epoch, step), put together from all ranks."""
    passes = passes or Passes(BATCH, epochs=2)
    cutter = eval_cutter(settings())
    found: dict[tuple[int, int], dict[int, str]] = {}
    for rank in range(ranks):
        for batch in batches(ClipStream(split, cutter, ORDER, passes, rank, ranks), workers):
            slot = found.setdefault((batch.epoch, batch.step), {})
            slot.update(zip(batch.numbers, batch.keys, strict=True))
    return {step: [used[n] for n in sorted(used)] for step, used in found.items()}


def test_the_order_is_exact_on_any_number_of_consumers_and_after_a_resume(split: Manifest) -> None:
    whole = keys(split, ranks=1)
    assert len({key for (epoch, _), step in whole.items() if epoch == 0 for key in step}) == 28
    assert keys(split, 3) == keys(split, 8) == keys(split, 1, workers=2) == whole
    tail = keys(split, 3, passes=Passes(BATCH, epochs=2, first_epoch=1, first_step=2))
    assert tail == {at: step for at, step in whole.items() if at >= (1, 2)}


def test_training_clips_are_the_same_whoever_cuts_them(split: Manifest) -> None:
    cutter = train_cutter(settings(), split.classes)

    def clips(ranks: int) -> dict[int, torch.Tensor]:
        streams = [ClipStream(split, cutter, ORDER, Passes(BATCH), rank, ranks) for rank in range(ranks)]
        parts = [part for stream in streams for part in batches(stream, 0)]
        return {n: clip for part in parts for n, clip in zip(part.numbers, part.clips, strict=True)}

    one, three = clips(1), clips(3)
    assert sorted(one) == sorted(three) == list(range(28))
    assert all(torch.equal(one[n], three[n]) for n in one)
    assert len({clip.numpy().tobytes() for clip in one.values()}) > 14


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    foreign.img2dataset(tmp_path / "tars", SHARDS)
    return tmp_path / "tars"


@pytest.mark.store
@pytest.mark.filterwarnings(r"ignore:Exception ignored in. <(socket.socket|function _SelectorTransport)")
@pytest.mark.parametrize("consumers", [1, 3, 8])
def test_a_lane_asks_a_bucket_once_a_piece(
    tars: Path, s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch, consumers: int
) -> None:
    for tar in tars.iterdir():
        storage.write_bytes(f"{s3}/tars/{tar.name}", tar.read_bytes())
    with fault_proxy(int(s3_server.endpoint.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        with fresh_clients():
            split = foreign.indexed([f"{s3}/tars/{{00000..00004}}.tar"], f"{s3}/index/train", label="txt")
            whole = [request for request in of_tars(proxy) if "range" not in request.headers]
            assert len(whole) <= len(SHARDS) + 1  # each once, and the first one for its labels
            proxy.requests.clear()
            epoch = epoch_of(split, ORDER, 0)
            shards = KeptSidecars(StoredShards(split), ORDER.lanes)
            for lane in range(ORDER.lanes):
                assert len(list(LaneReader(split, epoch, lane, shards=shards))) in (3, 4)
            pieces = sum(len(mixture.lane(epoch, lane).strands[0].pieces) for lane in range(ORDER.lanes))
            assert len(of_tars(proxy)) == pieces
            proxy.requests.clear()
            cutter = eval_cutter(settings())
            streams = [
                ClipStream(split, cutter, ORDER, Passes(BATCH), r, consumers) for r in range(consumers)
            ]
            assert sum(len(part.numbers) for stream in streams for part in batches(stream, 0)) == 28
            assert len(of_tars(proxy)) <= pieces * plan.readers_per_lane(consumers, ORDER.lanes)


def of_tars(proxy: FaultProxy) -> list[Request]:
    return [request for request in proxy.requests if ".tar" in request.target and request.method == "GET"]


def test_a_cache_keeps_tars_by_their_names_and_hashes(tars: Path, tmp_path: Path) -> None:
    split = foreign.indexed([tars], tmp_path / "index" / "train", label="txt")
    cutter = eval_cutter(settings())

    def epoch() -> list[list[str]]:
        source = cached(split, tmp_path / "cache")
        return [
            part.keys for part in batches(ClipStream(split, cutter, ORDER, Passes(BATCH), 0, 1, source), 0)
        ]

    first = epoch()
    for tar in tars.iterdir():
        tar.unlink()  # everything comes from the cache now
    assert epoch() == first


def test_a_damaged_sample_ends_the_run_or_is_replaced(tars: Path, tmp_path: Path) -> None:
    split = foreign.indexed([tars], tmp_path / "index" / "train", label="txt")
    row = split.sidecar(2).samples[3]
    tar = Path(split.shard_url(2))
    whole = bytearray(tar.read_bytes())
    whole[row.offset + 700] ^= 1
    tar.write_bytes(whole)

    def stream(allowed: int | None) -> ClipStream:
        return ClipStream(
            split, eval_cutter(settings()), ORDER, Passes(BATCH, drop_last=False), 0, 1, None, allowed
        )

    with pytest.raises(
        UserError, match=rf"{tar}: sample {row.key}, .*: damaged, its CRC-32 differs; .* index again"
    ):
        list(batches(stream(None), 0))
    parts = list(batches(stream(1), 0))
    assert [key for part in parts for key in part.replaced] == [row.key]
    assert len([key for part in parts for key in part.keys]) == 31


def test_a_tar_that_was_replaced_is_told(tars: Path, tmp_path: Path) -> None:
    split = manifest.load(foreign.indexed([tars], tmp_path / "index" / "train", label="txt").root)
    foreign.img2dataset(tars, [n + 1 for n in SHARDS], width=64)
    with pytest.raises(UserError, match="index again"):
        list(batches(ClipStream(split, eval_cutter(settings()), ORDER, Passes(BATCH), 0, 1), 0))

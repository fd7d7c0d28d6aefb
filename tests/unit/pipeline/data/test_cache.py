"""The cache of shards: complete or absent, within its budget, whoever uses it and whenever it is killed."""

import io
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import train
from pipeline.config import override
from pipeline.data.cache import CachedShards, ShardCache
from pipeline.data.clips import eval_cutter
from pipeline.data.loader import batches
from pipeline.data.samples import DamagedError, Span, checked
from pipeline.data.shards import StoredShards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from tests import shards
from tests.broken_disk import BrokenFile
from tests.cached import cached, content, read, read_all, spans, tars
from tests.processes import ROOT, environment

SHARDS = [5, 5, 5, 5]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return shards.make(tmp_path_factory.mktemp("shards"), SHARDS, frames=3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that the store was asked for, in order."""
    names: list[str] = []
    open_read = storage.open_read

    def counted(url: str, offset: int = 0, end: int | None = None) -> object:
        names.append(url.rpartition("/")[2])
        return open_read(url, offset, end)

    monkeypatch.setattr(storage, "open_read", counted)
    return names


def test_a_shard_is_streamed_and_kept_in_one_read(split: Manifest, tmp_path: Path, asked: list[str]) -> None:
    source = cached(split, tmp_path)
    assert read(source, 1) == spans(split, 1)
    assert tars(tmp_path, split) == [content(split, 1)]
    before = asked.copy()
    assert before.count("shard-000001.tar") == 1
    assert (
        read(cached(split, tmp_path), 1, 2) == spans(split, 1)[2:]
    )  # by another process, from the middle on
    assert asked[len(before) :] == ["shard-000001.json"]  # of spans() alone


def test_the_rest_of_a_shard_is_fetched_where_a_lane_ends_in_it(
    split: Manifest, tmp_path: Path, asked: list[str]
) -> None:
    assert read(cached(split, tmp_path), 0, 0, 2) == spans(split, 0)[:2]
    assert tars(tmp_path, split) == [content(split, 0)]
    assert asked.count("shard-000000.tar") == 1


def test_what_begins_in_the_middle_or_meets_a_fill_is_streamed(split: Manifest, tmp_path: Path) -> None:
    source, other = cached(split, tmp_path), cached(split, tmp_path)
    assert read(source, 2, 1) == spans(split, 2)[1:]
    assert tars(tmp_path, split) == []
    rows = source.rows(2)
    with source.open(2, rows) as stream:
        first = stream.read(rows[0].bytes)
        assert read(other, 2) == spans(split, 2)
        assert tars(tmp_path, split) == []
        assert [first, *(stream.read(row.bytes) for row in rows[1:])] == spans(split, 2)
    assert tars(tmp_path, split) == [content(split, 2)]


def test_a_reader_that_stops_half_way_keeps_nothing(split: Manifest, tmp_path: Path) -> None:
    source = cached(split, tmp_path)
    with source.open(0, rows := source.rows(0)) as stream:
        stream.read(rows[0].bytes)
    assert tars(tmp_path, split) == []
    assert list(tmp_path.glob("*.filling")) == []


def order_of(split: Manifest, source: CachedShards | None, epoch: int, workers: int = 0) -> list[list[str]]:
    """The keys of an epoch's batches."""
    root = str(Path(split.root).parent)
    tree = {"data": {"root": root, "size": 32, "short_side": 32}, "run": {"folder": "unused"}}
    cutter = eval_cutter(override(tree, ["model.num_frames=2"], "test"))
    order, passes = plan.Order(seed=3, lanes=4, window=6), Passes(3, epoch + 1, first_epoch=epoch)
    return [batch.keys for batch in batches(ClipStream(split, cutter, order, passes, 0, 1, source), workers)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_epoch_makes_no_request(
    split: Manifest, tmp_path: Path, asked: list[str], workers: int
) -> None:
    source = cached(split, tmp_path)
    assert order_of(split, source, 0, workers) == order_of(split, None, 0)
    asked.clear()
    second = order_of(split, source, 1, workers=0)
    assert asked == []
    assert second == order_of(split, None, 1)


def test_what_was_used_longest_ago_makes_room(split: Manifest, tmp_path: Path) -> None:
    size = max(shard.bytes for shard in split.shards)
    sidecars = sum(len(Path(split.sidecar_url(i)).read_bytes()) + 32 for i in range(4))
    source = cached(split, tmp_path, 2 * size + sidecars)
    for shard in (0, 1, 0, 2):
        read(source, shard)
    assert sorted(tars(tmp_path, split)) == sorted([content(split, 0), content(split, 2)])
    read(source, 3)
    assert sorted(tars(tmp_path, split)) == sorted([content(split, 2), content(split, 3)])


def test_an_open_file_that_makes_room_is_read_on(split: Manifest, tmp_path: Path) -> None:
    source = cached(split, tmp_path, split.shards[0].bytes * 5 // 4)
    read(source, 0)
    rows = StoredShards(split).rows(0)
    with source.open(0, rows) as stream:
        found = [stream.read(rows[0].bytes)]
        read(source, 1)
        assert tars(tmp_path, split) == [content(split, 1)]
        found += [stream.read(row.bytes) for row in rows[1:]]
    assert found == spans(split, 0)


def test_fills_on_their_way_count_in_the_budget(tmp_path: Path) -> None:
    cache, other = ShardCache(str(tmp_path), 1000), ShardCache(str(tmp_path), 1000)
    first = cache.fill("a" * 64, 600)
    assert first is not None
    assert other.fill("b" * 64, 600) is None
    assert other.fill("a" * 64, 300) is None  # it is on its way
    first.write(bytes(600))
    first.commit()
    second = other.fill("b" * 64, 600)  # in its place
    assert second is not None
    assert cache.open("a" * 64) is None
    second.abandon()


def test_what_is_larger_than_the_budget_is_streamed_and_no_other_file_is_touched(
    split: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "thesis.kept").write_bytes(bytes(10**6))
    source = cached(split, tmp_path, split.shards[0].bytes // 2)
    for shard in range(4):
        assert read(source, shard) == spans(split, shard)
    assert tars(tmp_path, split) == [bytes(10**6)]


def test_a_damaged_kept_shard_is_thrown_out_and_read_from_the_store(
    split: Manifest, tmp_path: Path, asked: list[str]
) -> None:
    source = cached(split, tmp_path)
    read(source, 1)
    (kept,) = [path for path in tmp_path.glob("*.kept") if path.read_bytes() == content(split, 1)]
    damaged = bytearray(content(split, 1))
    damaged[source.rows(1)[2].offset + 700] ^= 1
    kept.write_bytes(damaged)
    asked.clear()
    assert read(source, 1) == spans(split, 1)
    assert asked.count("shard-000001.tar") == 1
    assert not kept.exists()
    kept.write_bytes(content(split, 1)[:-20_000])  # and one that was cut short
    assert read(source, 1) == spans(split, 1)
    assert not kept.exists()


def test_a_sample_that_is_damaged_in_the_store_too_is_named(tmp_path: Path) -> None:
    split = shards.make(tmp_path / "shards", [3], frames=3)
    row = StoredShards(split).rows(0)[1]
    tar = Path(split.shard_url(0))
    damaged = bytearray(tar.read_bytes())
    damaged[row.offset + 700] ^= 1
    tar.write_bytes(damaged)
    source = cached(split, tmp_path / "cache")
    for _ in range(2):  # while it is kept, and from what was kept
        with pytest.raises(DamagedError, match=f"sample {row.key}"):
            checked(Span(row, split.shard_url(0), read(source, 0)[1]))


def test_a_damaged_kept_sidecar_is_fetched_again(split: Manifest, tmp_path: Path) -> None:
    source = cached(split, tmp_path)
    rows = source.rows(0)
    (kept,) = tmp_path.glob("*.kept")
    kept.write_bytes(kept.read_bytes().replace(b'"offset": 0', b'"offset": 9'))
    assert source.rows(0) == rows


@pytest.mark.parametrize("sample", [None, 0, 2, 4])
def test_a_kept_file_that_the_disk_does_not_give_is_read_from_the_store_and_told_once(
    split: Manifest,
    tmp_path: Path,
    sample: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for shard in (0, 1):
        read(cached(split, tmp_path), shard)
    is_kept = ShardCache.open

    def breaks(self: ShardCache, name: str) -> object:
        file = is_kept(self, name)
        if file is None:
            return None
        with file:
            is_tar = file.read() in (content(split, 0), content(split, 1))
        readable = 10**9 if sample is None else StoredShards(split).rows(0)[sample].offset + 700
        return io.BufferedReader(
            BrokenFile(file.name, readable if is_tar else 40 if sample is None else 10**9)
        )

    monkeypatch.setattr(ShardCache, "open", breaks)
    source = cached(split, tmp_path)
    for shard in (0, 1):
        assert read(source, shard) == spans(split, shard)
    assert len(tars(tmp_path, split)) == (2 if sample is None else 0)
    assert capsys.readouterr().err == (
        f"warning: data.cache {tmp_path}: Input/output error; shards are streamed without being kept\n"
    )


@pytest.mark.parametrize("room", [4, 2])
def test_many_processes_fill_and_read_the_same_shards(split: Manifest, tmp_path: Path, room: int) -> None:
    budget = room * 3 * split.shards[0].bytes // 2
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=read_all, args=(split.root, tmp_path, budget)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert list(tmp_path.glob("*.filling")) == []
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= budget
    whole = [content(split, shard) for shard in range(4)]
    assert all(tar in whole for tar in tars(tmp_path, split))
    if room == 4:
        assert sorted(tars(tmp_path, split)) == sorted(whole)


def test_a_fill_that_was_killed_leaves_nothing(split: Manifest, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom sharding.format import manifest\n"
        "from tests.cached import cached\n"
        "source = cached(manifest.load(sys.argv[1]), Path(sys.argv[2]))\n"
        "rows = source.rows(0)\nstream = source.open(0, rows)\nstream.read(rows[0].bytes)\n"
        "print('half-way', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, split.root, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        (left,) = tmp_path.glob("*.filling")
        source = cached(split, tmp_path)
        assert read(source, 0) == spans(split, 0)  # streamed, while the other is at it
        assert left.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert read(source, 0) == spans(split, 0)
    assert list(tmp_path.glob("*.filling")) == []
    assert tars(tmp_path, split) == [content(split, 0)]


def test_a_full_disk_is_told_once_and_reading_goes_on(
    split: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill: Callable[..., object] = ShardCache.fill

    def on_a_full_disk(self: ShardCache, name: str, size: int) -> object:
        begun = fill(self, name, size)
        if begun is not None and size > 5000:
            vars(begun)["_file"].close()
            vars(begun)["_file"] = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - by the fill
        return begun

    monkeypatch.setattr(ShardCache, "fill", on_a_full_disk)
    source = cached(split, tmp_path)
    for shard in range(3):
        assert read(source, shard) == spans(split, shard)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"data.cache {tmp_path}: No space left on device" in told
    assert tars(tmp_path, split) == []
    assert list(tmp_path.glob("*.filling")) == []


def test_a_folder_that_cannot_be_made_is_told_once(
    split: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    source = cached(split, tmp_path / "file" / "cache")
    assert [read(source, shard) for shard in (0, 1)] == [spans(split, 0), spans(split, 1)]
    assert capsys.readouterr().err.count("warning: data.cache") == 1


def test_other_shards_under_the_same_name_are_not_taken_for_these(tmp_path: Path) -> None:
    before = shards.make(tmp_path / "shards", [3], frames=3)
    read(cached(before, tmp_path / "cache"), 0)
    after = shards.make(tmp_path / "shards", [4], frames=4)
    assert read(cached(after, tmp_path / "cache"), 0) == spans(after, 0)


def test_training_and_evaluation_keep_their_shards(split: Manifest, tmp_path: Path) -> None:
    root = str(Path(split.root).parent)
    shards.make(root, [3], split="validation", frames=2)
    where = [f"data.root={root}", f"run.folder={tmp_path}/run", f"data.cache={tmp_path}/cache"]
    small = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=8"]
    more = ["optim.epochs=1", "data.workers=0", "run.precision=fp32"]
    assert train.main(["--config", "configs/demo.yaml", *where, *small, *more]) == 0
    assert len(list((tmp_path / "cache").glob("*.kept"))) == 2 * (4 + 1)  # with the sidecars


def test_a_bucket_is_no_cache(tmp_path: Path) -> None:
    tree = {"data": {"root": "shards", "cache": "s3://bucket/cache"}, "run": {"folder": "run"}}
    with pytest.raises(UserError, match=r"cache s3://bucket/cache is no folder of this machine"):
        override(tree, [], "test")

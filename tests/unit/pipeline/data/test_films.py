"""Films in shards, decoded when used or turned to JPEGs by the cache: what is read does not depend on the cache."""

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import config, evaluate, train
from pipeline.config import Config
from pipeline.data import films as source_of
from pipeline.data.batch import Batch
from pipeline.data.cache import CachedShards, Fill, ShardCache
from pipeline.data.clips import train_cutter
from pipeline.data.films import TurnedShards, shards_of
from pipeline.data.loader import batches
from pipeline.data.samples import DamagedError
from pipeline.data.shards import Shards, StoredShards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from pipeline.streaming import ShardDataset, Stream, Video
from sharding import storage
from sharding.building.turning import Turning
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest
from tests import foreign
from tests.films import built, settings
from tests.processes import ROOT, environment
from tests.unit.sharding.videos import write_set

BATCH = 3
ORDER = plan.Order(seed=5, lanes=4, window=3)
EPOCHS = 2
Clips = dict[tuple[int, int], tuple[list[str], list[int], bytes]]
"""Keys, labels and pixels of each batch, by epoch and step."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same videos as films, as films with hashes, and as JPEGs: 4 training shards of 3 and a rest."""
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder, train=11, validation=3, test=0)
    built(folder, folder / "films", settings())
    built(folder, folder / "hashed", settings(jpeg_hash=True))
    built(folder, folder / "jpegs", settings("jpeg"))
    return folder


@pytest.fixture(scope="module")
def films(sets: Path) -> Manifest:
    return manifest.load(str(sets / "films" / "train"))


@pytest.fixture(scope="module")
def hashed(sets: Path) -> Manifest:
    return manifest.load(str(sets / "hashed" / "train"))


@pytest.fixture(scope="module")
def jpegs(sets: Path) -> Manifest:
    return manifest.load(str(sets / "jpegs" / "train"))


def configured(*more: str) -> Config:
    small = ["model.num_frames=2", "data.size=32", "data.short_side=32"]
    tree = {"data": {"root": "unused"}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *more], "test")


CUTTER = train_cutter(configured(), ["a", "b", "c"])


def size(path: Path) -> int:
    """Bytes of a file; 0 where it is gone by now."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def turned(split: Manifest, folder: Path, budget: int = 10**9) -> TurnedShards:
    return TurnedShards(CachedShards(StoredShards(split), ShardCache(str(folder), budget)))


def stream(
    split: Manifest, shards: Shards | None, passes: Passes | None = None, rank: int = 0, ranks: int = 1
) -> ClipStream:
    passes = passes or Passes(BATCH, epochs=EPOCHS, drop_last=False)
    return ClipStream(split, CUTTER, ORDER, passes, rank, ranks, shards)


def told(made: Iterator[Batch]) -> Clips:
    return {
        (part.epoch, part.step): (part.keys, part.labels.tolist(), part.clips.contiguous().numpy().tobytes())
        for part in made
    }


def clips(split: Manifest, shards: Shards | None, passes: Passes | None = None) -> Clips:
    return told(batches(stream(split, shards, passes), 0))


@pytest.fixture(scope="module")
def usual(jpegs: Manifest) -> Clips:
    """What training on the ordinary build has."""
    return clips(jpegs, None)


def kept_tars(folder: Path, split: Manifest) -> list[bytes]:
    """The kept shards of JPEGs, without what is behind their tars."""
    found = []
    for path in folder.glob("*.kept"):
        content = path.read_bytes()
        if content[257:262] == b"ustar":
            behind = {source_of._behind(row.samples) for row in split.shards}
            found.append(next(content[:-n] for n in behind if (len(content) - n) % 10240 == 0))
    return found


def contents(split: Manifest) -> list[bytes]:
    return [Path(split.shard_url(i)).read_bytes() for i in range(len(split.shards))]


def test_films_that_are_decoded_give_the_clips_of_jpegs_but_for_their_loss(
    films: Manifest, usual: Clips, tmp_path: Path
) -> None:
    cache = CachedShards(StoredShards(films), ShardCache(str(tmp_path), 10**9))
    for shards in (None, cache, cache):
        found = clips(films, shards)
        assert sorted(found) == sorted(usual)
        for at, (keys, labels, pixels) in found.items():
            assert (keys, labels) == usual[at][:2]
            a, b = (np.frombuffer(each, np.uint8).astype(int) for each in (pixels, usual[at][2]))
            assert np.abs(a - b).mean() < 6


@pytest.mark.parametrize("kind", ["films", "hashed"])
def test_turned_films_are_the_ordinary_build_cold_and_warm(
    kind: str, jpegs: Manifest, usual: Clips, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    split: Manifest = request.getfixturevalue(kind)
    assert clips(split, turned(split, tmp_path / "cold")) == usual
    assert sorted(kept_tars(tmp_path / "cold", split)) == sorted(contents(jpegs))
    assert clips(split, turned(split, tmp_path / "cold")) == usual  # warm


@pytest.mark.parametrize("kind", ["films", "hashed"])
@pytest.mark.parametrize("shards", [0, 0.4, 1.5, 2.5])
def test_a_cache_without_room_for_all_keeps_what_it_has_room_for(
    kind: str,
    shards: float,
    jpegs: Manifest,
    usual: Clips,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split: Manifest = request.getfixturevalue(kind)
    budget = 1 + int(shards * max(row.bytes for row in jpegs.shards))
    write, taken = Fill.write, []

    def counted(self: Fill, data: bytes) -> None:
        write(self, data)
        with self._cache.locked():  # other lanes begin and finish files meanwhile
            taken.append(sum(map(size, tmp_path.glob("*.*"))))
        assert not self.is_open or self.written <= self.size

    monkeypatch.setattr(Fill, "write", counted)
    for _ in range(2):
        assert clips(split, turned(split, tmp_path, budget)) == usual
    assert max(taken, default=0) <= budget
    assert list(tmp_path.glob("*.filling")) == []
    assert len(kept_tars(tmp_path, split)) in ([0] if shards < 1 else range(1, 4))


def test_a_process_that_is_killed_in_the_middle_of_a_shard_leaves_nothing(
    films: Manifest, jpegs: Manifest, usual: Clips, tmp_path: Path
) -> None:
    program = (
        "import sys\nfrom sharding.format import manifest\n"
        "from pipeline.data.cache import CachedShards, ShardCache\n"
        "from pipeline.data.films import TurnedShards\nfrom pipeline.data.shards import StoredShards\n"
        "stored = StoredShards(manifest.load(sys.argv[1]))\n"
        "shards = TurnedShards(CachedShards(stored, ShardCache(sys.argv[2], 10**9)))\n"
        "rows = shards.rows(0)\nstream = shards.open(0, rows)\nstream.read(rows[0].bytes)\n"
        "print('half-way', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, films.root, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "half-way\n"
        assert len(list(tmp_path.glob("*.filling"))) == 1
        assert clips(films, turned(films, tmp_path)) == usual  # while the other is at it
        assert len(kept_tars(tmp_path, films)) == len(films.shards) - 1
        process.kill()
    assert clips(films, turned(films, tmp_path)) == usual
    assert sorted(kept_tars(tmp_path, films)) == sorted(contents(jpegs))
    assert list(tmp_path.glob("*.filling")) == []


def test_what_is_begun_in_the_middle_or_resumed_is_the_same(
    films: Manifest, usual: Clips, tmp_path: Path
) -> None:
    steps = plan.steps_in_epoch(films.samples, BATCH, drop_last=False)
    for epoch, step in [(0, 1), (0, steps - 1), (1, 2)]:
        passes = Passes(BATCH, EPOCHS, epoch, step, drop_last=False)
        for _ in range(2):  # cold, and then warm
            found = clips(films, turned(films, tmp_path / f"{epoch}-{step}"), passes)
            assert found == {at: made for at, made in usual.items() if at >= (epoch, step)}


def test_processes_and_ranks_share_what_is_turned(
    films: Manifest, jpegs: Manifest, usual: Clips, tmp_path: Path
) -> None:
    assert told(batches(stream(films, turned(films, tmp_path)), 2)) == usual
    assert sorted(kept_tars(tmp_path, films)) == sorted(contents(jpegs))
    parts = [list(batches(stream(films, turned(films, tmp_path), rank=r, ranks=3), 0)) for r in range(3)]
    for of_step in zip(*parts, strict=True):
        keys = {n: key for part in of_step for n, key in zip(part.numbers, part.keys, strict=True)}
        at = of_step[0].epoch, of_step[0].step
        assert [keys[n] for n in sorted(keys)] == usual[at][0]


def test_a_second_epoch_asks_the_store_for_nothing_and_decodes_no_film(
    films: Manifest, usual: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips(films, turned(films, tmp_path))

    def never(*_: object, **__: object) -> object:
        raise AssertionError("asked")

    monkeypatch.setattr(storage, "open_read", never)
    monkeypatch.setattr(storage, "read_bytes", never)
    monkeypatch.setattr(Turning, "add", never)
    assert clips(films, turned(films, tmp_path)) == usual


def test_a_shard_that_becomes_another_is_told_and_not_kept(
    hashed: Manifest, usual: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [replace(row.becomes(), sha256="0" * 64) for row in hashed.shards]  # type: ignore[type-var]
    rows = [replace(row, jpeg=jpeg) for row, jpeg in zip(hashed.shards, known, strict=True)]  # type: ignore[call-arg]
    shards = turned(replace(hashed, shards=rows), tmp_path)
    # sidecars say the truth, which is not this manifest's
    shards.rows = lambda shard: StoredShards(hashed).rows(shard)  # type: ignore[method-assign]
    assert clips(hashed, shards) == usual
    assert kept_tars(tmp_path, hashed) == []
    assert list(tmp_path.glob("*.filling")) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {hashed.root}/shard-00000")
    assert "turned to JPEGs it has " in line and f"and {'0' * 64}; install the versions of PyAV" in line
    assert f"PyAV {av.__version__}" in line


def test_a_damaged_kept_sample_is_turned_again(films: Manifest, usual: Clips, tmp_path: Path) -> None:
    clips(films, turned(films, tmp_path))
    tars = [path for path in tmp_path.glob("*.kept") if path.read_bytes()[257:262] == b"ustar"]
    for number, path in enumerate(tars):
        content = bytearray(path.read_bytes())
        place = [3000, len(content) - 5, len(content) - 60, 100][number % 4]
        content[place] ^= 1
        path.write_bytes(content[: len(content) // 2] if number == 2 else content)
    assert clips(films, turned(films, tmp_path)) == usual
    assert clips(films, turned(films, tmp_path)) == usual


def test_a_full_disk_is_told_once_and_reading_goes_on(
    films: Manifest, usual: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert clips(films, turned(films, tmp_path / "file" / "cache")) == usual
    assert capsys.readouterr().err.count("warning: data.cache") == 1


@pytest.fixture
def damaged(sets: Path, tmp_path: Path) -> Manifest:
    """Films of which a byte of one is another."""
    for name in ("set/annotations", "set/videos"):
        storage_of = tmp_path / name
        storage_of.parent.mkdir(exist_ok=True)
        storage_of.symlink_to(sets / name.removeprefix("set/"))
    built(tmp_path / "set", tmp_path / "films", settings())
    split = manifest.load(str(tmp_path / "films" / "train"))
    row = split.sidecar(1).samples[1]
    tar = Path(split.shard_url(1))
    content = bytearray(tar.read_bytes())
    content[row.offset + row.bytes - 700] ^= 1
    tar.write_bytes(content)
    return split


def test_a_damaged_film_ends_the_run_or_is_replaced(damaged: Manifest, tmp_path: Path) -> None:
    row = damaged.sidecar(1).samples[1]
    for shards in (None, turned(damaged, tmp_path / "cache")):
        with pytest.raises(
            UserError, match=rf"sample {row.key}, .*: damaged, its CRC-32 differs; .* build --repair"
        ):
            clips(damaged, shards)
        replacing = stream(damaged, shards)
        replacing.allowed = 1
        parts = list(batches(replacing, 0))
        assert [key for part in parts for key in part.replaced] == [row.key] * EPOCHS
    assert len(kept_tars(tmp_path / "cache", damaged)) == len(damaged.shards) - 1


def test_a_film_that_cannot_be_turned_here_is_named(
    films: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an FFmpeg without its codec."""
    from sharding.building import sample
    from sharding.sources.fault import Unusable

    key, real = films.sidecar(0).samples[0].key, sample.encode_film

    def encode(video: object, *more: object) -> object:
        if getattr(video, "key", "") == key:
            raise Unusable("its codec is not known here")
        return real(video, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sample, "encode_film", encode)
    words = (
        rf"sample {key}, .*: cannot be turned to JPEGs: its codec is not known here; set data.films=decode"
    )
    with pytest.raises(UserError, match=words):
        clips(films, turned(films, tmp_path))


def test_settings_choose_the_way(films: Manifest, jpegs: Manifest, tmp_path: Path) -> None:
    jpeg = configured("data.films=jpeg", f"data.cache={tmp_path}")
    assert isinstance(shards_of(jpeg.data, films), TurnedShards)
    assert isinstance(shards_of(jpeg.data, jpegs), CachedShards)
    assert isinstance(shards_of(configured(f"data.cache={tmp_path}").data, films), CachedShards)
    assert isinstance(shards_of(configured().data, films), StoredShards)
    with pytest.raises(
        UserError, match=r"films jpeg needs a folder for the shards of JPEGs: set data\.cache"
    ):
        configured("data.films=jpeg")
    other = replace(films, settings=films.settings | {"pixels": 1})
    with pytest.raises(
        UserError, match=r"built with version 1 of what makes pixels, .*; .* set data\.films=decode"
    ):
        shards_of(jpeg.data, other)
    pickle.loads(pickle.dumps(shards_of(jpeg.data, films)))


def test_other_settings_or_versions_have_other_kept_files(
    films: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {turned(films, tmp_path)._name(0)}
    names.add(turned(replace(films, settings=films.settings | {"quality": 80}), tmp_path)._name(0))
    monkeypatch.setattr(source_of, "versions", lambda: "another")
    names.add(turned(films, tmp_path)._name(0))
    assert len(names) == 3


def test_any_film_by_its_number(films: Manifest, tmp_path: Path) -> None:
    dataset = ShardDataset(films.root, lambda video, rng: (video.key, video.decode([0]).shape, video.fps))
    keys = [row.key for sidecar in films.sidecars() for row in sidecar.samples]
    found = [dataset[i][0] for i in range(len(dataset))]
    assert [key for key, _, _ in found] == keys
    assert all(shape[:2] == (1, 32) and fps == 12.0 for _, shape, fps in found)
    with pytest.raises(UserError, match="no JPEG a frame"):
        dataset.video(0).jpegs()
    foreign.img2dataset(tmp_path / "tars", [2, 3])
    split = foreign.indexed([tmp_path / "tars"], tmp_path / "index" / "train", label="txt")
    pictures = ShardDataset(split.root, lambda video, rng: video.decode().shape)
    assert [pictures[i][0] for i in range(5)] == [(1, 40, 48, 3)] * 5
    assert pictures.video(3).jpegs() == [foreign.jpeg(3)]
    foreign.tar(tmp_path / "png.tar", [("a.png", foreign.picture("png", 0))])
    lossless = ShardDataset(foreign.indexed([tmp_path / "png.tar"], tmp_path / "png").root, lambda *_: 0)
    with pytest.raises(UserError, match="sample a: frame 0 is no JPEG; take decode"):
        lossless.video(0).jpegs()


def test_a_frame_that_a_film_has_not_is_the_transform_s_mistake_and_no_damage(films: Manifest) -> None:
    """Damage may be replaced by other samples, within its budget."""
    dataset = ShardDataset(films.root, lambda video, rng: video.decode([video.frames]))
    with pytest.raises(UserError, match=r"the transform .* failed: IndexError: frame \d+ of \d+ ") as raised:
        dataset[0]
    assert not isinstance(raised.value, DamagedError)


def fingerprint(video: Video, rng: np.random.Generator) -> np.ndarray:
    """Of a video's JPEGs, as they lie in a shard."""
    return np.frombuffer(hashlib.sha256(b"".join(video.jpegs())).digest(), np.uint8)


def test_a_stream_gives_the_jpegs_that_its_cache_turns_films_to(
    films: Manifest, jpegs: Manifest, tmp_path: Path
) -> None:
    def batches_of(split: Manifest, **settings: Any) -> list[tuple[list[str], list[list[int]]]]:
        made = Stream(split.root, fingerprint, global_batch=3, window=4, epochs=2, seed=5, **settings)
        kept = len(kept_tars(tmp_path, films))
        assert kept in (0, len(films.shards))  # nothing is turned for the one sample that is tried
        return [(batch.keys, batch.data.tolist()) for batch in made]

    usual = batches_of(jpegs)
    assert batches_of(films, films="jpeg", cache=tmp_path) == usual
    assert len(kept_tars(tmp_path, films)) == len(films.shards)
    assert batches_of(films, films="jpeg", cache=tmp_path) == usual
    with pytest.raises(UserError, match=r"sample \d+: a film has no JPEG a frame; take decode\(\)"):
        batches_of(films, cache=tmp_path)


@pytest.mark.parametrize("way", ["decode", "jpeg"])
def test_training_and_evaluation(sets: Path, tmp_path: Path, way: str) -> None:
    where = [f"data.root={sets}/films", f"run.folder={tmp_path}/run", f"data.cache={tmp_path}/cache"]
    small = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4"]
    more = ["optim.epochs=2", "data.workers=0", "run.precision=fp32", f"data.films={way}"]
    assert train.main(["--config", "configs/demo.yaml", *where, *small, *more]) == 0
    kept = len(list((tmp_path / "cache").glob("*.kept")))
    assert kept == 2 * (4 + 1)  # with the sidecars
    best = ["--checkpoint", f"{tmp_path}/run/checkpoints/best.json"]
    assert evaluate.main([*best, "--data", f"{sets}/films/validation"]) == 0
    assert evaluate.main([*best, "--data", f"{sets}/jpegs/validation"]) == 0

"""Shards that hold films as they came: what an ordinary build has, but for the frames, which are decoded when used."""

import json
import random
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from sharding.building.settings import Settings
from sharding.building.tasks import Part
from sharding.building.verify import verify
from sharding.cli import main
from sharding.errors import UserError
from sharding.fingerprints.take import take
from sharding.foreign import sample
from sharding.format import manifest
from sharding.format.manifest import Manifest
from sharding.format.rows import FilmRow, SampleRow
from sharding.format.sidecar import JpegShard
from tests.films import SHORT_SIDE, built, settings
from tests.unit.sharding import downloads
from tests.unit.sharding.sources.test_resize import set_rotation
from tests.unit.sharding.videos import psnr, tree, write_set, write_video, written_json

FILMS, JPEGS = settings(), settings("jpeg")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven training videos, of which one is cut short, one is missing and one has two frames."""
    folder = tmp_path_factory.mktemp("set")
    _, videos = write_set(folder, train=7, validation=2, test=1)
    cut = videos / "2.webm"
    cut.write_bytes(cut.read_bytes()[:-100])
    (videos / "5.webm").unlink()
    write_video(videos / "6.webm", frames=2)
    return folder


@pytest.fixture(scope="module")
def films(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("films")
    built(source, out, FILMS)
    return out


@pytest.fixture(scope="module")
def jpegs(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jpegs")
    built(source, out, JPEGS)
    return out


def spans(split: Manifest) -> Iterator[tuple[SampleRow, bytes]]:
    for i, sidecar in enumerate(split.sidecars()):
        tar = Path(split.shard_url(i)).read_bytes()
        for row in sidecar.samples:
            yield row, tar[row.offset : row.offset + row.bytes]


def test_samples_are_the_films_own_bytes_in_the_order_of_an_ordinary_build(
    source: Path, films: Path, jpegs: Path
) -> None:
    for name in ("train", "validation", "test"):
        made, usual = manifest.load(str(films / name)), manifest.load(str(jpegs / name))
        assert made.of_films and not made.indexed and not usual.of_films
        assert made.settings == usual.settings | {"store": "film"}
        assert (made.samples, made.frames, made.classes) == (usual.samples, usual.frames, usual.classes)
        assert made.failures == usual.failures
        for (row, span), (other, written) in zip(spans(made), spans(usual), strict=True):
            assert isinstance(row, FilmRow)
            assert (row.key, row.label, row.frames) == (other.key, other.label, other.frames)
            about = written_json(written)
            del about["offsets"]
            assert written_json(span) == about
    with tarfile.open(films / "train" / "shard-000000.tar") as tar:
        for member in tar.getmembers():
            key, _, ending = member.name.partition(".")
            if ending == "webm":
                content = tar.extractfile(member)
                assert content is not None
                assert content.read() == (source / "videos" / f"{key}.webm").read_bytes()
        names = tar.getnames()
    assert [name.partition(".")[2] for name in names] == ["json", "webm"] * (len(names) // 2)
    failed = {failure.key: failure.reason for failure in manifest.load(str(films / "train")).failures}
    assert failed.pop("2").startswith("truncated: ")
    assert failed == {"5": "no such file", "6": "2 frames, fewer than 3"}


def test_a_reader_gets_the_frames_of_an_ordinary_build_but_for_the_loss_of_jpeg(
    films: Path, jpegs: Path
) -> None:
    sides = (manifest.load(str(folder / "validation")) for folder in (films, jpegs))
    for (row, span), (other, written) in zip(*map(spans, sides), strict=True):
        meta, of_film = sample.of_any(row, span)
        usual, of_jpegs = sample.of_any(other, written)
        assert (meta.width, meta.height, meta.fps) == (usual.width, usual.height, usual.fps)
        which, size = range(row.frames), (meta.width, meta.height)
        shown, expected = (np.stack(list(frames.each(which, size))) for frames in (of_film, of_jpegs))
        assert shown.shape == expected.shape
        assert psnr(shown, expected) > 30
        order = [psnr(shown[0], frame) for frame in expected]
        assert np.argmax(order) == 0  # and not a frame beside it


def rotated(path: Path, degrees: int) -> Path:
    plain = write_video(path.with_suffix(".plain.mp4"), 4, (64, 48), "libx264")
    with av.open(str(plain)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    set_rotation(path, degrees)
    return path


@pytest.mark.parametrize("short_side", [24, None, 96])
def test_odd_films_are_shown_as_in_an_ordinary_build(tmp_path: Path, short_side: int | None) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    files = [rotated(folder / f"turned-{degrees}.mp4", degrees) for degrees in (90, 180, 270)]
    files += [
        write_video(folder / "odd.mkv", 4, (65, 49), "ffv1", "yuv444p"),
        write_video(folder / "wide.mp4", 4, (48, 48), "libx264", options={"aspect": "2"}),
        write_video(folder / "b-frames.avi", 9, (64, 48), "libx264", options={"bf": "2"}),
        write_video(folder / "uneven.webm", 5, (64, 48), times=[0, 10, 500, 510, 900]),
    ]
    table = tmp_path / "list.csv"
    table.write_text("path,label\n" + "".join(f"{file.name},x\n" for file in files))
    sides = []
    for store in ("film", "jpeg"):
        made = replace(settings(store, samples_per_shard=20), short_side=short_side)
        built(tmp_path, tmp_path / store, made, dataset="csv", annotations=table)
        sides.append(manifest.load(str(tmp_path / store / "train")))
    assert sides[0].samples == sides[1].samples == len(files) and not sides[0].failures
    notes = {row.key: written_json(span)["source"] for row, span in spans(sides[0])}
    assert notes["wide"]["sample_aspect_ratio"] == "2:1"
    for (row, span), (_, written) in zip(*map(spans, sides), strict=True):
        (meta, of_film), (usual, of_jpegs) = sample.of_any(row, span), sample.of_any(_, written)
        size = (meta.width, meta.height)
        assert (row.frames, *size) == (usual.frames, usual.width, usual.height)
        pairs = zip(
            of_film.each(range(row.frames), size), of_jpegs.each(range(row.frames), size), strict=True
        )
        assert all(psnr(a, b) > 27 for a, b in pairs), row.key


@pytest.mark.parametrize("jpeg_hash", [False, True])
def test_workers_tasks_and_breaks_change_no_byte(source: Path, tmp_path: Path, jpeg_hash: bool) -> None:
    made = settings(jpeg_hash=jpeg_hash)
    built(source, tmp_path / "one", made, splits=["train"])
    built(source, tmp_path / "two", made, splits=["train"], workers=2)
    for index in (2, 0, 1):
        built(source, tmp_path / "tasks", made, splits=["train"], part=Part(index, 3))
    manifest.finalize(str(tmp_path / "tasks" / "train"))
    (tmp_path / "two" / "train" / "shard-000001.json").unlink()
    (tmp_path / "two" / "train" / "shard-000000.tar").write_bytes(b"cut")
    assert built(source, tmp_path / "two", made, splits=["train"]).built == 2
    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(tmp_path / "tasks")


def test_the_hash_is_that_of_the_ordinary_build(source: Path, jpegs: Path, tmp_path: Path) -> None:
    built(source, tmp_path, settings(jpeg_hash=True))
    for name in ("train", "validation", "test"):
        made, usual = manifest.load(str(tmp_path / name)), manifest.load(str(jpegs / name))
        becomes = [row.becomes() for row in made.shards]
        assert becomes == [JpegShard(row.bytes, row.sha256) for row in usual.shards]
        assert becomes == [sidecar.jpeg for sidecar in made.sidecars()]  # type: ignore[attr-defined]
    assert main(["verify", str(tmp_path), "--workers", "1"]) == 0
    # a manifest that says something else is another one than the sidecars'
    file = tmp_path / "train" / "manifest.json"
    known = manifest.load(str(file)).shards[0].becomes()
    assert known is not None
    file.write_text(file.read_text().replace(known.sha256, "0" * 64))
    with pytest.raises(UserError, match="not the sidecar that the manifest was made from"):
        manifest.load(str(file)).sidecar(0)


def test_a_set_can_be_moved_and_is_verified(films: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(films, tmp_path / "elsewhere")
    report = verify(str(moved / "train"), 1)
    assert (report.problems, report.samples, report.failures) == ({}, 4, 3)
    assert report.lines()[0].endswith("3 videos could not be used: all as built")


def test_films_from_archives_are_the_same_bytes(source: Path, films: Path, tmp_path: Path) -> None:
    archives = tmp_path / "downloads"
    archives.mkdir()
    downloads.zip_parts(source / "videos", archives)
    downloads.write_labels(source / "annotations", archives)
    words = ["build", "--dataset", "sthv2", "--archives", str(archives), "--out", str(tmp_path / "out")]
    more = ["--short-side", str(SHORT_SIDE), "--samples-per-shard", "3", "--store", "film", "--workers", "1"]
    assert main([*words, *more, "--max-failures", "3"]) == 0
    assert tree(tmp_path / "out") == tree(films)


def test_damage_is_found_and_repaired(source: Path, films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path, dirs_exist_ok=True)
    row = manifest.load(str(tmp_path / "train")).sidecar(1).samples[0]
    tar = tmp_path / "train" / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[row.offset + row.bytes - 900] ^= 1
    tar.write_bytes(data)
    problems = verify(str(tmp_path / "train"), 1).problems
    assert problems == {"shard-000001.tar": [f"sample {row.key}: its CRC-32 differs", "its SHA-256 differs"]}
    assert (
        built(source, tmp_path, FILMS, splits=["train"], repair=True).built == 2
    )  # with that of the failed videos
    assert tree(tmp_path / "train") == tree(films / "train")


def test_a_video_that_is_there_now_is_taken_by_a_repair(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "set")
    built(copy, tmp_path / "out", FILMS, splits=["train"])
    write_video(copy / "videos" / "5.webm", frames=8)
    built(copy, tmp_path / "out", FILMS, splits=["train"], repair=True)
    failed = {failure.key for failure in manifest.load(str(tmp_path / "out" / "train")).failures}
    assert failed == {"2", "6"}


def test_frames_that_the_film_does_not_have_are_told_by_verify(films: Path, tmp_path: Path) -> None:
    """As another FFmpeg may find them: the bytes are right, and the number is not."""
    made = manifest.load(str(films / "validation"))
    row, span = next(iter(spans(made)))
    _, frames = sample.of_any(row, span)
    with pytest.raises(ValueError, match=f"{row.frames} frames, should be 99"):
        type(frames)(**{**vars(frames), "frames": 99}).check((1, 1))


def test_films_and_jpegs_do_not_mix(source: Path, films: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(films, tmp_path / "copy")
    with pytest.raises(UserError, match="setting store is None and was 'film'"):
        built(source, copy, JPEGS)
    with pytest.raises(UserError, match="setting jpeg_hash is True and was None"):
        built(source, copy, settings(jpeg_hash=True))
    with pytest.raises(UserError, match="films as they came; fingerprints are of shards of JPEGs"):
        take([manifest.load(str(films / "train"))], 1, lambda: None)


def test_programs_that_know_no_films_refuse_them_by_the_format(films: Path) -> None:
    for file in ("manifest.json", "shard-000000.json"):
        assert json.loads((films / "train" / file).read_text())["format"] == 3
    assert "jpeg" not in json.loads((films / "train" / "manifest.json").read_text())["shards"][0]


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("a.webm", "webm"),
        ("a.WebM", "webm"),
        ("folder.x/a", "film"),
        ("a.json", "film"),
        ("a.matroska", "film"),
        ("a.b c", "film"),
    ],
)
def test_a_film_keeps_its_ending_where_a_tar_can_hold_it(
    source: Path, tmp_path: Path, path: str, ending: str
) -> None:
    file = tmp_path / "videos" / path
    file.parent.mkdir(parents=True)
    shutil.copy(source / "videos" / "1.webm", file)
    table = tmp_path / "list.csv"
    table.write_text(f"path,label,id\n{path},x,one\n")
    built(tmp_path, tmp_path / "out", FILMS, dataset="csv", annotations=table)
    with tarfile.open(tmp_path / "out" / "train" / "shard-000000.tar") as tar:
        assert tar.getnames() == ["one.json", f"one.{ending}"]
    assert verify(str(tmp_path / "out" / "train"), 1).problems == {}


def test_a_part_of_a_film_and_a_folder_of_pictures_are_refused(source: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path,label,start,end\n1.webm,x,,\n3.webm,x,0.1,\n")
    with pytest.raises(
        UserError, match=r"video 3_0_1\S* is a part of 3\.webm, and --store film keeps whole films"
    ):
        built(source, tmp_path / "out", FILMS, dataset="csv", annotations=table)
    assert not (tmp_path / "out").exists()
    (tmp_path / "videos" / "7").mkdir(parents=True)
    table.write_text("path,label\n7,x\n")
    with pytest.raises(UserError, match=r"videos/7: a folder of pictures; --store film keeps films"):
        built(tmp_path, tmp_path / "out", FILMS, dataset="csv", annotations=table)


def test_options_that_films_cannot_have_are_refused() -> None:
    for wrong, words in [
        ({"fps": 6.0}, "--fps 6.0: a film keeps every frame"),
        ({"max_frames": 8}, "--max-frames 8: a film keeps every frame"),
        ({"input": "flow"}, "--store film: with --input flow there are pictures"),
    ]:
        with pytest.raises(UserError, match=words):
            Settings(store="film", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--jpeg-hash: .* add --store film"):
        Settings(jpeg_hash=True)


def test_the_command_line_from_build_to_inspect(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["build", "--dataset", "sthv2", "--annotations", str(source / "annotations")]
    words += ["--videos", str(source / "videos"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*words, "--store", "film", "--jpeg-hash", "--max-failures", "3"]) == 0
    assert main(["verify", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("all as built") == 3
    assert main(["inspect", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    assert "damaged" not in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") > 10


def test_any_damaged_byte_of_a_span_is_told(films: Path) -> None:
    rng = random.Random(0)
    row, span = next(iter(spans(manifest.load(str(films / "train")))))
    for _ in range(20):
        damaged = bytearray(span)
        damaged[rng.randrange(len(span))] ^= 1 << rng.randrange(8)
        with pytest.raises(ValueError, match="CRC-32"):
            sample.of_any(row, bytes(damaged))

import contextlib
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import av
import pytest
import webdataset

from sharding import cli, storage
from sharding.building import build, verify
from sharding.building.build import Request, make_plan
from sharding.building.settings import Settings
from sharding.building.tasks import Part
from sharding.errors import UserError
from sharding.format import budget, manifest, mjpeg
from sharding.format.shard import unpack
from sharding.format.sidecar import Failure, Place, load_sidecar, tar_name
from sharding.lists.videos import Annotations, Video
from tests.unit.sharding import accidents
from tests.unit.sharding.videos import CLASSES, real_clips, tree, write_set, written_json

SETTINGS = Settings(short_side=32, samples_per_shard=3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 7 training, 3 validation and 2 test videos."""
    folder = tmp_path_factory.mktemp("set")
    write_set(folder)
    return folder


@pytest.fixture(scope="module")
def reference(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set, built by one worker without a break."""
    out = tmp_path_factory.mktemp("reference")
    build.build(request(videos, out))
    return out


def request(folder: Path, out: Path, **changes: object) -> Request:
    wanted: dict[str, object] = {
        "dataset": "sthv2",
        "annotations": folder / "annotations",
        "videos": folder / "videos",
        "out": str(out),
        "settings": SETTINGS,
    }
    return Request(**(wanted | changes))  # type: ignore[arg-type]


def test_the_whole_line_from_videos_to_samples(videos: Path, reference: Path) -> None:
    made = manifest.load(str(reference / "train"))
    assert (made.dataset, made.split, made.classes, made.samples) == ("sthv2", "train", CLASSES, 7)
    assert [row.name for row in made.shards] == [f"shard-00000{i}.tar" for i in range(3)]
    assert made.settings == SETTINGS.to_dict()
    listed = {row["id"]: row for row in json.loads((videos / "annotations" / "train.json").read_text())}
    frames = 0
    for number, row in enumerate(made.shards):
        data = Path(made.shard_url(number)).read_bytes()
        sidecar = load_sidecar(made.sidecar_url(number))
        assert (row.bytes, row.sha256, row.samples) == (sidecar.bytes, sidecar.sha256, len(sidecar.samples))
        for sample_row in sidecar.samples:
            span = data[sample_row.offset : sample_row.offset + sample_row.bytes]
            meta, blob = unpack(sample_row, span)
            about = written_json(span)
            entry = listed.pop(sample_row.key)
            assert about["template"] == entry["template"] and about["placeholders"] == ["a pen"]
            assert CLASSES[meta.label or 0] == entry["template"].replace("[", "").replace("]", "")
            decoded = mjpeg.decode(blob, meta.offsets, range(meta.frames), (meta.width, 32))
            assert decoded.shape == (6 + int(sample_row.key) % 3, 32, meta.width, 3)
            frames += len(decoded)
    assert not listed and frames == made.frames
    assert manifest.load(str(reference / "test" / "manifest.json")).samples == 2
    assert all(
        row.label is None for row in load_sidecar(str(reference / "test" / "shard-000000.json")).samples
    )


# webdataset leaves the closing of files to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_plain_webdataset_reads_the_shards(reference: Path) -> None:
    urls = [str(p) for p in sorted((reference / "train").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == 7
    for read in samples:
        assert json.loads(read["json"])["frames"] == 6 + int(read["__key__"]) % 3
        assert read["mjpeg"].startswith(b"\xff\xd8")
    gc.collect()


def test_an_ordinary_player_opens_the_blob_as_motion_jpeg(reference: Path, tmp_path: Path) -> None:
    with tarfile.open(reference / "train" / "shard-000000.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    blobs = list(tmp_path.glob("*.mjpeg"))
    assert len(blobs) == 3
    for blob in blobs:
        meta = json.loads(blob.with_suffix(".json").read_text())
        with av.open(str(blob)) as container:
            assert (container.format.name, container.streams.video[0].codec_context.name) == (
                "mjpeg",
                "mjpeg",
            )
            sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
        assert sizes == [(meta["width"], meta["height"])] * meta["frames"]


def test_any_number_of_workers_gives_the_same_bytes(videos: Path, reference: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path, workers=3))
    assert tree(tmp_path) == tree(reference)


def test_any_number_of_tasks_gives_the_same_bytes(videos: Path, reference: Path, tmp_path: Path) -> None:
    for index in (2, 0, 1):
        with pytest.raises(UserError):
            manifest.finalize(str(tmp_path / "train"))
        summary = build.build(request(videos, tmp_path, part=Part(index, 3)))
        assert summary.manifests == [] and not list(tmp_path.glob("*/manifest.json"))
    for split in ("train", "validation", "test"):
        manifest.finalize(str(tmp_path / split))
    assert tree(tmp_path) == tree(reference)


def test_finalize_names_the_missing_shards(videos: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path, part=Part(1, 3)))
    with pytest.raises(UserError, match=r"2 of 3 shards are missing: shard-000000\.tar, shard-000002\.tar"):
        manifest.finalize(str(tmp_path / "train"))


def test_a_second_build_does_nothing(videos: Path, reference: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tar")}
    summary = build.build(request(videos, tmp_path))
    assert (summary.built, summary.shards) == (0, 5)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tar")} == before
    assert tree(tmp_path) == tree(reference)


def test_a_shard_without_sidecar_or_cut_short_is_built_again(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    build.build(request(videos, tmp_path))
    (tmp_path / "train" / "shard-000001.json").unlink()
    (tmp_path / "train" / "shard-000002.tar").write_bytes(b"cut")
    (tmp_path / "validation" / "shard-000000.tar").unlink()
    assert build.build(request(videos, tmp_path)).built == 3
    assert tree(tmp_path) == tree(reference)


def test_other_settings_or_annotations_are_refused_with_the_difference(videos: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path, splits=["test"]))
    other = Settings(short_side=32, samples_per_shard=3, quality=80)
    with pytest.raises(UserError, match=r"recipe\.json: .* setting quality is 80 and was 90"):
        build.build(request(videos, tmp_path, splits=["test"], settings=other))
    (tmp_path / "test" / "recipe.json").unlink()  # as earlier releases left it
    with pytest.raises(UserError, match="setting quality is 80 and was 90"):
        build.build(request(videos, tmp_path, splits=["test"], settings=other))
    assert not (tmp_path / "test" / "recipe.json").exists()
    assert build.build(request(videos, tmp_path, splits=["test"])).built == 0
    assert (tmp_path / "test" / "recipe.json").exists()
    changed = tmp_path / "changed"
    write_set(changed, train=1, validation=1, test=3)
    with pytest.raises(UserError, match="the annotations differ"):
        build.build(request(changed, tmp_path, splits=["test"]))


def test_every_task_compares_the_recipe_before_it_begins(videos: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path, splits=["train"], part=Part(0, 3)))
    before = tree(tmp_path)
    other = Settings(short_side=32, samples_per_shard=3, quality=80)
    with pytest.raises(UserError, match=r"train/recipe\.json: .* setting quality is 80 and was 90"):
        build.build(request(videos, tmp_path, splits=["train"], part=Part(1, 3), settings=other))
    assert tree(tmp_path) == before


def test_a_build_whose_folder_another_one_takes_publishes_nothing_more(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two that begin in the same moment: each finds an empty folder, and the later one's recipe stays.
    monkeypatch.setattr(build, "build_shard", accidents.build_while_another_claims)
    with pytest.raises(UserError, match=r"recipe\.json: .* setting quality is 90 and was 80"):
        build.build(request(videos, tmp_path, splits=["train"]))
    assert list(tree(tmp_path)) == ["train/recipe.json"]


def test_finalize_holds_the_shards_to_the_recipe(videos: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path, splits=["test"]))
    file = tmp_path / "test" / "recipe.json"
    file.write_text(file.read_text().replace('"quality": 90', '"quality": 80'))
    with pytest.raises(
        UserError, match=r"from other things than recipe\.json: setting quality is 90 and was 80"
    ):
        manifest.finalize(str(tmp_path / "test"))
    file.write_text("{")
    with pytest.raises(UserError, match=r"recipe\.json: not a recipe .*; remove it"):
        manifest.finalize(str(tmp_path / "test"))


def test_unusable_videos_are_recorded_and_do_not_stop_the_build(tmp_path: Path) -> None:
    _, folder = write_set(tmp_path / "set", train=6, validation=1, test=0)
    (folder / "1.webm").write_bytes(b"")
    (folder / "2.webm").unlink()
    data = (folder / "3.webm").read_bytes()
    (folder / "3.webm").write_bytes(data[: len(data) // 2])
    (folder / "4.webm").write_text("no video at all " * 9)
    summary = build.build(request(tmp_path / "set", tmp_path / "out", splits=["train"]))
    (made,) = summary.manifests
    reasons = {failure.key: failure.reason for failure in made.failures}
    assert reasons.pop("3").startswith("truncated: ")
    assert reasons == {
        "1": "empty file (0 bytes)",
        "2": "no such file",
        "4": "cannot be decoded: Invalid data found when processing input",
    }
    assert (made.samples, summary.failures) == (2, 4)
    rows = (tmp_path / "out" / "train" / "failures.csv").read_text().splitlines()
    assert rows[0] == "key,reason,shard" and len(rows) == 5
    assert any(row.startswith("1,empty file (0 bytes),shard-00000") for row in rows)


def test_a_wrong_folder_of_videos_becomes_no_shards(videos: Path, reference: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    limit = budget.parse("0.1%")
    wanted = request(videos, tmp_path / "out", videos=tmp_path / "none", max_failures=limit, part=Part(0, 2))
    with pytest.raises(UserError, match=r"none: 12 of 12 videos are not in it: .* nothing was built"):
        build.build(wanted)
    assert {Path(name).name for name in tree(tmp_path / "out")} == {"recipe.json"}
    build.build(request(videos, tmp_path / "out", max_failures=limit))
    assert tree(tmp_path / "out") == tree(reference)
    # What is there already needs no videos.
    wanted = request(videos, tmp_path / "out", videos=tmp_path / "none", max_failures=limit)
    assert build.build(wanted).built == 0


def test_a_repair_tries_failed_videos_again_where_they_are_there_now(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(videos / "videos", folder)
    whole = {name: (folder / name).read_bytes() for name in ("1.webm", "2.webm", "8.webm")}
    (folder / "1.webm").write_bytes(b"")
    (folder / "2.webm").unlink()
    (folder / "8.webm").write_bytes(whole["8.webm"][:300])
    assert build.build(request(videos, out, videos=folder)).failures == 3
    assert (
        verify.verify(str(out / "train"), 1).lines()[0].endswith("2 videos could not be used: all as built")
    )
    # Only the one that has bytes may be usable now.
    assert build.build(request(videos, out, videos=folder, repair=True)).built == 1
    for name, data in whole.items():
        (folder / name).write_bytes(data)
    assert build.build(request(videos, out, videos=folder)).built == 0
    assert build.build(request(videos, out, videos=folder, repair=True)).failures == 0
    assert tree(out) == tree(reference)


def test_an_odd_video_costs_only_itself(videos: Path, tmp_path: Path) -> None:
    # A time that FFmpeg's seeking has no number for.
    listing = tmp_path / "list.csv"
    listing.write_text("path,label,start\n1.webm,a,1e300\n2.webm,a,\n3.webm,b,\n")
    wanted = Request("csv", listing, videos / "videos", str(tmp_path / "out"), SETTINGS)
    (made,) = build.build(wanted).manifests
    assert made.samples == 2 and [failure.key for failure in made.failures] == ["1_1e300"]


def test_a_subset_by_class_names_is_a_set_of_its_own(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = tmp_path / "mini.txt"
    wanted.write_text("Holding something\nPushing something from left to right\n")
    out = tmp_path / "mini"
    command = f"build --dataset sthv2 --annotations {videos}/annotations --videos {videos}/videos --out {out}"
    command += f" --only-classes {wanted} --short-side 48 --workers 1"
    assert cli.main(command.split()) == 2
    assert "split test has no labelled video of these classes" in capsys.readouterr().err
    assert cli.main([*command.split(), "--split", "train", "--split", "validation"]) == 0
    said = capsys.readouterr().err
    for split in ("train", "validation"):
        made = manifest.load(storage.join(str(out), split))
        whole = json.loads((videos / "annotations" / f"{split}.json").read_text())
        names = {row["id"]: row["template"].replace("[", "").replace("]", "") for row in whole}
        assert made.classes == ["Holding something", "Pushing something from left to right"]
        rows = [row for sidecar in made.sidecars() for row in sidecar.samples]
        assert {row.key: made.classes[row.label] for row in rows if row.label is not None} == {
            key: name for key, name in names.items() if name in made.classes
        }
        assert f"note: {len(rows)} of {len(whole)} videos of {split} are of the wanted classes" in said


def test_real_clips_go_through_a_csv(tmp_path: Path) -> None:
    listing = tmp_path / "clips.csv"
    names = sorted(real_clips())
    listing.write_text("path,label,end\n" + "".join(f"{name}.mp4,{name},0.4\n" for name in names))
    folder = next(iter(real_clips().values())).parent
    wanted = Request("csv", listing, folder, str(tmp_path / "out"), Settings())
    (made,) = build.build(wanted).manifests
    assert (made.samples, made.classes, made.failures) == (4, names, [])
    sizes = set()
    data = (tmp_path / "out" / "train" / "shard-000000.tar").read_bytes()
    for row in load_sidecar(made.sidecar_url(0)).samples:
        meta = written_json(data[row.offset : row.offset + row.bytes])
        sizes.add((meta["width"], meta["height"], meta["source"]["codec"]))
    assert sizes == {(455, 256, "h264"), (602, 256, "h264"), (342, 256, "h264")}


def test_the_plan_spreads_classes_and_depends_on_keys_and_seed_alone() -> None:
    listed = [Video(str(i), f"{i}.webm", i // 100) for i in range(1000)]
    plan = make_plan(Annotations("sthv2", "train", [], listed), Settings(samples_per_shard=100))
    shuffled = random.Random(0).sample(listed, len(listed))
    assert make_plan(Annotations("sthv2", "train", [], shuffled), Settings(samples_per_shard=100)) == plan
    assert sorted(v.key for s in plan.shards for v in s) == sorted(v.key for v in listed)
    assert [len(s) for s in plan.shards] == [100] * 10
    assert all(len({v.label for v in s}) == 10 for s in plan.shards)
    other = make_plan(Annotations("sthv2", "train", [], listed), Settings(samples_per_shard=100, seed=1))
    assert other.shards != plan.shards


def test_the_plan_is_the_one_of_earlier_releases() -> None:
    listed = [Video(str(i), f"{i}.webm", 0) for i in range(8)]
    plan = make_plan(Annotations("sthv2", "train", [], listed), Settings(samples_per_shard=4))
    assert [[v.key for v in s] for s in plan.shards] == [["6", "4", "5", "2"], ["3", "1", "7", "0"]]


def test_a_missing_video_folder_is_an_error(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; --videos"):
        build.build(request(videos, tmp_path, videos=tmp_path / "none"))


def test_a_full_disk_is_a_clear_error_and_no_failed_video(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "build_shard", accidents.build_on_a_full_disk)
    with pytest.raises(UserError, match=r"shard-0.*\.tar, video \d+: .*No space left on device"):
        build.build(request(videos, tmp_path))
    assert not list(tmp_path.glob("*/*.tar")) and not list(tmp_path.glob("*/shard-*"))


def test_a_video_that_crashes_or_spins_costs_only_itself(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "build_shard", accidents.build_with_wild_videos)
    (made,) = build.build(request(videos, tmp_path, splits=["train"], workers=2, video_limit_s=2)).manifests
    assert sorted(made.failures, key=lambda f: f.key) == [
        Failure("2", "the decoder crashed (SIGSEGV)"),
        Failure("4", "not decoded within 2 s"),
    ]
    assert made.samples == 5


def test_workers_that_are_killed_again_and_again_end_the_build(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "build_shard", accidents.build_until_killed)
    with pytest.raises(UserError, match=r"ended by SIGKILL, 3 times in this shard"):
        build.build(request(videos, tmp_path))


def driver(folder: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sharding.cli", "build", "--dataset", "sthv2"]
    command += [
        "--annotations",
        str(folder / "annotations"),
        "--videos",
        str(folder / "videos"),
        "--out",
        str(out),
    ]
    command += ["--short-side", "32", "--samples-per-shard", "3", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_builds_that_are_killed_at_random_end_in_the_same_bytes(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    chance = random.Random(1)
    kills = 0
    for round_ in range(20):
        out = tmp_path / str(round_ // 2)  # two kills a set, the second in a build that goes on
        process = driver(videos, out, "--workers", "2")
        wait_for_shards(process, out, chance.randint(0, 1) + round_ % 2)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        for sidecar in out.glob("*/shard-*.json"):
            assert sidecar.with_suffix(".tar").stat().st_size == load_sidecar(str(sidecar)).bytes
        if round_ % 2:
            process = driver(videos, out, "--workers", "2")
            told, _ = process.communicate(timeout=120)
            assert process.returncode == 0, told
            assert tree(out) == tree(reference)
    assert kills >= 15  # a build may end between the look at its files and the signal


def test_workers_that_are_killed_at_random_cost_nothing(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    chance = random.Random(2)
    told_of = 0
    for round_ in range(6):
        out = tmp_path / str(round_)
        process = driver(videos, out, "--workers", "2")
        wait_for_shards(process, out, chance.randint(0, 2))
        for pid in chance.sample(sorted(workers_of(process.pid)), k=1) if process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
        told_of += "its worker was ended by SIGKILL; the shard begins again" in told
        assert tree(out) == tree(reference)
    assert told_of >= 3  # a worker may have been idle, or done before the signal


def workers_of(driver: int) -> set[int]:
    """The worker processes of a driver."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == driver and b"spawn_main" in (stat.parent / "cmdline").read_bytes():
                found.add(int(stat.parent.name))
    return found


def wait_for_shards(process: "subprocess.Popen[str]", out: Path, count: int) -> None:
    """Until the first file is begun and `count` shards are done, or the process has ended."""
    while process.poll() is None and (
        len(list(out.glob("*/shard-*.json"))) < count or not list(out.glob("*/*shard-*"))
    ):
        time.sleep(0.001)


def test_an_interrupt_ends_in_one_line_and_leaves_nothing_half_done(videos: Path, tmp_path: Path) -> None:
    process = driver(videos, tmp_path, "--workers", "2")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/*shard-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was done before the signal came
        assert process.returncode == 130
        assert told.splitlines()[-1] == "interrupted; run the same command again to go on"
        assert "Traceback" not in told
    assert not list(tmp_path.glob("*/.*"))


def test_two_builds_of_the_same_shards_do_no_harm(videos: Path, reference: Path, tmp_path: Path) -> None:
    processes = [driver(videos, tmp_path, "--workers", "1") for _ in range(2)]
    for process in processes:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert tree(tmp_path) == tree(reference)


def test_names_of_shards_sort_in_their_order() -> None:
    place = Place("", tar_name(12))
    assert (place.tar_name, place.sidecar_name) == ("shard-000012.tar", "shard-000012.json")


def test_finalize_refuses_a_tar_cut_short_and_a_shard_too_many(videos: Path, tmp_path: Path) -> None:
    build.build(request(videos, tmp_path, splits=["train"]))
    folder = tmp_path / "train"
    whole = (folder / "shard-000001.tar").read_bytes()
    (folder / "shard-000001.tar").write_bytes(whole[:-512])
    with pytest.raises(
        UserError, match=rf"shard-000001\.tar: {len(whole) - 512} bytes, should be {len(whole)}"
    ):
        manifest.finalize(str(folder))
    (folder / "shard-000001.tar").write_bytes(whole)
    (folder / "shard-000007.json").write_bytes((folder / "shard-000000.json").read_bytes())
    with pytest.raises(UserError, match=r"shard-000007\.json: there are 3 shards, not so many; remove it"):
        manifest.finalize(str(folder))

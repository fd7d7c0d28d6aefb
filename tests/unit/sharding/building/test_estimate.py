import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharding.building import build, spool
from sharding.building import estimate as estimate_module
from sharding.building.build import Request
from sharding.building.estimate import Estimate, Measure, Probe, SplitEstimate, estimate, makespan, measure
from sharding.building.settings import Settings
from sharding.cli import main
from sharding.errors import UserError
from sharding.pages.figure import Figure, mean, total
from sharding.workers.pool import Report
from tests.unit.sharding.videos import tree, write_set

SETTINGS = Settings(short_side=32, samples_per_shard=4)
# A tar is filled up to 20 blocks; the prediction knows how much only on average.
TAR_END = 9.5 * 512


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, train=12, validation=3, test=2)
    return folder


def request(folder: Path, out: Path | str = "", settings: Settings = SETTINGS) -> Request:
    return Request("sthv2", folder / "annotations", folder / "videos", str(out), settings)


def built_bytes(folder: Path, out: Path, settings: Settings = SETTINGS) -> dict[str, int]:
    return {made.split: made.bytes for made in build.build(request(folder, out, settings)).manifests}


def options(folder: Path, *more: str) -> list[str]:
    words = ["estimate", "--dataset", "sthv2", "--annotations", str(folder / "annotations")]
    return [*words, "--videos", str(folder / "videos"), "--short-side", "32", *more]


@pytest.mark.parametrize("store", [{}, {"store": "film"}, {"store": "film", "jpeg_hash": True}])
def test_a_sample_of_all_videos_predicts_the_size_of_the_build(
    source: Path, tmp_path: Path, store: dict[str, Any]
) -> None:
    settings = replace(SETTINGS, **store)
    before = tree(source)
    made = estimate(request(source, settings=settings), 1000)
    assert tree(source) == before and not list(tmp_path.iterdir())
    real = built_bytes(source, tmp_path / "out", settings)
    assert [(s.split, s.videos, s.shards, len(s.measures)) for s in made.splits] == [
        ("train", 12, [4, 4, 4], 12),
        ("validation", 3, [3], 3),
        ("test", 2, [2], 2),
    ]
    for split in made.splits:
        assert split.size.error == 0
        assert abs(split.size.value - real[split.split]) <= len(split.shards) * TAR_END
    assert abs(made.size.value - sum(real.values())) <= 5 * TAR_END


def test_a_part_of_the_videos_predicts_the_size_within_its_error(source: Path, tmp_path: Path) -> None:
    train = estimate(request(source), 6).splits[0]
    assert len(train.measures) == 6 and train.size.error > 0
    real = built_bytes(source, tmp_path / "out")["train"]
    assert abs(train.size.value - real) <= 4 * train.size.error + 3 * TAR_END
    again = estimate(request(source), 6).splits[0]
    assert [m.key for m in again.measures] == [m.key for m in train.measures]
    assert again.size == train.size


def test_broken_videos_are_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, videos = write_set(tmp_path, train=5, validation=2, test=0)
    (videos / "2.webm").write_bytes(b"")
    (videos / "3.webm").write_bytes(b"no video at all")
    made = estimate(request(tmp_path), 64)
    train, validation = made.splits
    assert {m.key: m.reason is not None for m in train.measures if m.key in "123"} == {
        "1": False,
        "2": True,
        "3": True,
    }
    assert (len(train.failures), len(validation.failures)) == (2, 0)
    real = built_bytes(tmp_path, tmp_path / "out")
    assert abs(train.size.value - real["train"]) <= 2 * TAR_END
    assert main(options(tmp_path)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].split()[:5] == ["train", "5", "5", "2", "1"]
    place = told.index("2 of the 7 videos sampled cannot be used:")
    assert "  2: empty file (0 bytes)" in told[place:]
    assert any(line.startswith("  3: cannot be decoded") for line in told[place:])


def measure_wild_videos(probe: Probe, report: Report) -> Measure:
    """In a worker: video 2 crashes the decoder, video 4 makes it spin."""
    if probe.video.key in "24" and probe.skipped is None:
        report(probe.video.key)
        if probe.video.key == "2":
            os.kill(os.getpid(), signal.SIGSEGV)
        while True:
            pass
    return measure(probe, report)


def test_a_video_that_crashes_or_spins_is_counted(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "measure", measure_wild_videos)
    made = estimate(replace(request(source), splits=["train"], video_limit_s=1), 12)
    assert {m.key: m.reason for m in made.splits[0].failures} == {
        "2": "the decoder crashed (SIGSEGV)",
        "4": "not decoded within 1 s",
    }
    assert len(made.splits[0].measures) == 12


def measure_on_a_full_disk(probe: Probe, report: Report) -> Measure:
    """In a worker: no room for temporary files."""

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    spool.IN_MEMORY_BYTES = 0
    spool.tempfile.TemporaryFile = no_room  # type: ignore[assignment]
    return measure(probe, report)


def test_a_full_disk_is_not_the_videos_fault(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "measure", measure_on_a_full_disk)
    with pytest.raises(UserError, match=r"webm: cannot be measured: No space left on device \(long videos"):
        estimate(request(source), 1)


def test_many_failures_are_cut_short() -> None:
    measures = [Measure(str(i), 0, 0.1, 0.1, "no such file") for i in range(9)]
    made = Estimate([SplitEstimate("train", [10], [Measure("9", 100, 0.1, 0.1), *measures])])
    assert made.lines(1, 1)[-1] == "  and 4 more"
    assert sum(line.endswith("no such file") for line in made.lines(1, 1)) == 5


def test_nothing_usable_is_an_error_that_names_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, videos = write_set(tmp_path, train=2, validation=1, test=0)
    for video in videos.iterdir():
        video.unlink()
    assert main(options(tmp_path)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {videos}: none of the 3 videos sampled can be used; ")
    assert error.endswith(": no such file")
    with pytest.raises(UserError, match="/nowhere: no such folder"):
        estimate(Request("sthv2", tmp_path / "annotations", Path("/nowhere"), ""), 1)


def test_the_table_names_splits_time_and_bandwidth(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options(source, "--split", "validation", "--cores", "1", "--clips-per-second", "2e3")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["videos", "sampled", "unusable", "shards", "a", "sample", "size"]
    assert [line.split()[:5] for line in lines[1:3]] == [
        ["validation", "3", "3", "0", "1"],
        ["all", "3", "3", "0", "1"],
    ]
    assert "on 1 core like" in lines[4]
    assert lines[6].startswith("training ") and lines[6].endswith("a second from storage at 2000 clips/s")
    assert "whole sample of validation" in lines[7]


def test_training_reads_whole_usable_samples_of_the_training_split() -> None:
    measures = [Measure("1", 300, 1.0, 1.0), Measure("2", 500, 1.0, 1.0), Measure("3", 0, 1.0, 1.0, "broken")]
    made = Estimate(
        [
            SplitEstimate("validation", [1], [Measure("4", 9, 1.0, 1.0)]),
            SplitEstimate("train", [3], measures),
        ]
    )
    assert made.bandwidth(10) == ("train", Figure(4000, 0))


def test_time_is_the_cpu_time_of_all_videos_over_the_cores_that_have_a_shard() -> None:
    measures = [Measure("1", 1, 2.0, 9.0), Measure("2", 1, 4.0, 9.0)]
    made = Estimate([SplitEstimate("train", [2, 2, 2, 2], measures)])
    one = made.build_s(1)
    assert one.value == pytest.approx(24) and made.build_s(4).value == pytest.approx(6)
    assert made.build_s(1000).value == pytest.approx(6)
    assert made.build_s(4).error / 6 == pytest.approx(one.error / 24)
    assert one.error == pytest.approx(8 * math.sqrt(2) * math.sqrt((1 - 2 / 8) / 2))


def test_pieces_go_to_whoever_is_free() -> None:
    assert makespan([5, 1, 1, 1, 4], 2) == 7
    assert makespan([1, 2, 3], 1) == 6
    assert makespan([1, 2, 3], 64) == 3


def test_the_error_of_a_mean_is_that_of_a_sample_from_a_finite_set() -> None:
    figure = mean([1, 2, 3, 4], 16)
    assert figure.value == 2.5
    assert figure.error == pytest.approx(math.sqrt(5 / 3 / 4 * 12 / 16))
    assert mean([1, 2], 2) == Figure(1.5, 0)
    assert math.isnan(mean([1], 2).error)
    assert total([Figure(1, 3), Figure(2, 4)]) == Figure(3, 5)
    assert Figure(2, 0.05).text(str) == "2 ± 2.5 %"
    assert Figure(2, 0).text(str) == "2" and Figure(2, math.nan).text(str) == "2 ± ?"

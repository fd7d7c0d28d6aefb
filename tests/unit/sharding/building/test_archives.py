"""A build from the archives as they were downloaded gives the bytes of the build from the unpacked films."""

import json
import shutil
from pathlib import Path

import pytest

from sharding.archives import films
from sharding.cli import main
from tests.unit.sharding import downloads
from tests.unit.sharding.downloads import SHAPES, Shape, write_labels
from tests.unit.sharding.videos import tree, write_set

SMALL = ["--short-side", "32", "--samples-per-shard", "3", "--workers", "1"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with a cut and a missing video, and its shards in `out`."""
    folder = tmp_path_factory.mktemp("usual")
    _, videos = write_set(folder, train=6, validation=2, test=1)
    cut = videos / "2.webm"
    cut.write_bytes(cut.read_bytes()[:-100])
    (videos / "5.webm").unlink()
    (videos / "readme.txt").write_text("about the films")
    assert build(folder, "--videos", str(videos), "--annotations", str(folder / "annotations")) == 0
    return folder


def build(folder: Path, *more: str, dataset: str = "sthv2") -> int:
    words = ["build", "--dataset", dataset, "--out", str(folder / "out"), "--max-failures", "2"]
    return main([*words, *SMALL, *more])


def downloaded(shape: Shape, usual: Path, folder: Path) -> Path:
    archives = folder / "downloads"
    archives.mkdir()
    shape(usual / "videos", archives)
    write_labels(usual / "annotations", archives)
    return archives


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_bytes_as_from_a_folder(shape: Shape, usual: Path, tmp_path: Path) -> None:
    archives = downloaded(shape, usual, tmp_path)
    assert build(tmp_path, "--archives", str(archives)) == 0
    assert tree(tmp_path / "out") == tree(usual / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["downloads", "out"]


def test_annotations_may_be_given_and_a_csv_names_films_by_their_paths(usual: Path, tmp_path: Path) -> None:
    archives = downloaded(downloads.zip_parts, usual, tmp_path)
    table = tmp_path / "films.csv"
    table.write_text("path,label\n./1.webm,a\n20bn-something-something-v2/3.webm,b\n")
    assert build(tmp_path, "--archives", str(archives), "--annotations", str(table), dataset="csv") == 0
    made = json.loads((tmp_path / "out" / "train" / "manifest.json").read_text())
    assert made["samples"] == 2 and not made["failures"]


def test_a_build_that_was_interrupted_goes_on(
    usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = downloaded(downloads.zip_parts, usual, tmp_path)
    given = ["--archives", str(archives)]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # while the films are unpacked
        patch.setattr(films.Tar, "content", interrupted)
        assert build(tmp_path, *given) == 130
    left = sorted(path.name for path in (tmp_path / "out.spool").iterdir())
    assert left == ["labels", "lock"] and not list((tmp_path / "out").rglob("shard-*"))

    assert build(tmp_path, *given, "--spool", str(tmp_path / "kept")) == 0
    (tmp_path / "out" / "train" / "shard-000001.json").unlink()  # while shards are built
    read: list[object] = []
    monkeypatch.setattr(films, "_pass_on", lambda *given: read.append(given))
    assert build(tmp_path, *given, "--spool", str(tmp_path / "kept")) == 0
    assert not read and tree(tmp_path / "out") == tree(usual / "out")
    assert "3 shards were there already" in capsys.readouterr().out


def test_nothing_is_unpacked_where_nothing_is_missing(
    usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = downloaded(downloads.plain_parts, usual, tmp_path)
    shutil.copytree(usual / "out", tmp_path / "out")
    monkeypatch.setattr(films.Downloads, "films", None)
    assert build(tmp_path, "--archives", str(archives)) == 0


def test_archives_that_lack_too_many_videos_are_refused(
    usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = downloaded(downloads.one_tar, usual, tmp_path)
    assert build(tmp_path, "--archives", str(archives), "--max-failures", "0") == 2
    says = (
        f"{archives}: 1 of 9 videos are not in its archives: 5.webm; --max-failures is 0; nothing was built"
    )
    assert says in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("shard-*"))


def test_a_repair_tries_failed_videos_again_where_the_archives_have_them_now(
    usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = downloaded(downloads.film_zips, usual, tmp_path)
    given = ["--archives", str(archives), "--repair"]
    assert build(tmp_path, *given) == 0
    capsys.readouterr()
    assert build(tmp_path, *given) == 0
    # 2.webm is cut, but there; 5.webm is not there.
    assert "in 1 shards, " in capsys.readouterr().out.splitlines()[-1]
    assert tree(tmp_path / "out") == tree(usual / "out")
    film = (usual / "videos" / "1.webm").read_bytes()
    downloads.write_zip(archives / "films_4.zip", [(f"{downloads.NAME}/5.webm", film)])
    assert build(tmp_path, *given) == 0
    made = json.loads((tmp_path / "out" / "train" / "manifest.json").read_text())
    assert [failure["key"] for failure in made["failures"]] == ["2"]


def test_archives_that_change_end_the_build(
    usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = downloaded(downloads.film_zips, usual, tmp_path)
    read = films.Downloads.films

    def then_damaged(self: films.Downloads, on_bytes: films.OnBytes) -> films.Films:
        found = read(self, on_bytes)
        for file in archives.glob("films_*.zip"):
            file.write_bytes(file.read_bytes().replace(b"webm", b"avif"))
        return found

    monkeypatch.setattr(films.Downloads, "films", then_damaged)
    assert build(tmp_path, "--archives", str(archives)) == 2
    assert "its CRC-32 in" in capsys.readouterr().err


def test_tasks_share_a_spool(usual: Path, tmp_path: Path) -> None:
    archives = downloaded(downloads.zip_parts, usual, tmp_path)
    for index in "012":
        given = ["--archives", str(archives), "--task-count", "3", "--task-index", index]
        assert build(tmp_path, *given) == 0
    assert main(["finalize", str(tmp_path / "out"), "--max-failures", "2"]) == 0
    assert tree(tmp_path / "out") == tree(usual / "out")
    assert (tmp_path / "out.spool" / "films").exists()


def test_a_cut_part_is_said_before_anything_is_built(
    usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = downloaded(downloads.plain_parts, usual, tmp_path)
    part = archives / "20bn-something-something-v2-02"
    part.write_bytes(part.read_bytes()[:-1])
    assert build(tmp_path, "--archives", str(archives)) == 2
    assert "error: part 02 of 20bn-something-something-v2-" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--dataset", "csv"], "--annotations is missing"),
        (["--dataset", "sthv1"], "version 1 comes in pictures"),
        (["--out", "s3://bucket/set"], "give a local folder as --spool"),
        (["--archives", "/nowhere"], "/nowhere: no such folder; --archives is"),
    ],
)
def test_what_does_not_go_together_is_said(
    more: list[str], says: str, usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = downloaded(downloads.one_tar, usual, tmp_path)
    assert build(tmp_path, "--archives", str(archives), *more) == 2
    assert says in capsys.readouterr().err


def test_a_spool_without_archives_is_refused(
    usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tmp_path, "--videos", str(usual / "videos"), "--spool", str(tmp_path / "spool")) == 2
    assert capsys.readouterr().err.startswith("error: --spool is where the films of --archives are kept")


def test_the_films_are_kept_where_too_many_failed(usual: Path, tmp_path: Path) -> None:
    archives = downloaded(downloads.plain_parts, usual, tmp_path)
    with (tmp_path / "few.csv").open("w") as file:
        file.write("path,label\n1.webm,a\n2.webm,a\n")  # the second is cut
    few = ["--dataset", "csv", "--annotations", str(tmp_path / "few.csv"), "--archives", str(archives)]
    assert build(tmp_path, *few, "--max-failures", "0") == 2
    assert (tmp_path / "out.spool").exists()
    assert build(tmp_path, *few, "--max-failures", "1") == 0
    assert not (tmp_path / "out.spool").exists()


def test_label_files_that_are_missing_are_said(
    usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    downloads.one_tar(usual / "videos", tmp_path)
    assert build(tmp_path, "--archives", str(tmp_path)) == 2
    assert "no label files in it; give their folder as --annotations" in capsys.readouterr().err

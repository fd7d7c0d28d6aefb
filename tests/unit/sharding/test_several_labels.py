"""Sets whose samples have several labels each, from the list to what is told of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharding.cli import main
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.sidecar import load_sidecar
from tests.unit.sharding.videos import write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of four videos with labels, one without in a split of its own, and their shards."""
    folder = tmp_path_factory.mktemp("several")
    _, videos = write_set(folder, train=4, validation=1, test=0)
    names = sorted(path.name for path in videos.iterdir())
    labels = ["run;jump", "run", "sit;jump", "run;sit;jump"]
    rows = [f"{name},{label},train" for name, label in zip(names, labels, strict=False)]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows, f"{names[4]},,test", ""]))
    assert main(words(folder)) == 0
    return folder


def words(folder: Path, *more: str, out: str = "out", command: str = "build") -> list[str]:
    found = [command, "--dataset", "csv", "--annotations", str(folder / "list.csv")]
    found += ["--videos", str(folder / "videos"), "--label-separator", ";", "--short-side", "32", *more]
    return found if command == "estimate" else [*found, "--out", str(folder / out), "--workers", "1"]


def test_json_and_sidecar_hold_ascending_numbers_and_the_recipe_says_so(folder: Path) -> None:
    made = manifest.load(str(folder / "out" / "train"))
    assert made.several_labels and made.settings["labels"] == "several"
    assert made.classes == ["jump", "run", "sit"]
    (sidecar,) = made.sidecars()
    assert sorted(row.label for row in sidecar.samples if isinstance(row.label, tuple)) == [
        (0, 1), (0, 1, 2), (0, 2), (1,)
    ]  # fmt: skip
    text = json.loads((folder / "out" / "train" / "shard-000000.json").read_text())
    assert all(isinstance(row["label"], list) for row in text["samples"])
    tar = (folder / "out" / "train" / "shard-000000.tar").read_bytes()
    found = [json.loads(label) for label in re.findall(rb'{"label":(\[[0-9,]*\]),"frames"', tar)]
    assert found == [row["label"] for row in text["samples"]]
    test = manifest.load(str(folder / "out" / "test"))
    assert test.several_labels and test.sidecar(0).samples[0].label is None


def test_verify_finalize_and_inspect_know_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "out" / "train" / "manifest.json").read_bytes()
    assert main(["finalize", str(folder / "out")]) == 0
    assert (folder / "out" / "train" / "manifest.json").read_bytes() == before
    assert main(["verify", str(folder / "out"), "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("all as built") == 2
    page = folder / "page.html"
    assert main(["inspect", str(folder / "out"), "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert "labels   3 classes, samples in each: 2 to 3, median 3" in said and "labels   no labels" in said
    assert '<b>jump</b> <span class="quiet">· class 0</span>, <b>run</b>' in page.read_text()


def test_an_estimate_reads_the_list_alike(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "--videos-sampled", "1", command="estimate")) == 0
    assert "train" in capsys.readouterr().out


def test_a_build_with_one_label_a_video_is_another_recipe(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = [word for word in words(folder) if word not in ("--label-separator", ";")]
    assert main(one) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "built from other settings or annotations" in error


def test_fingerprints_tell_other_labels_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "list.csv").read_text()
    (folder / "list.csv").write_text(text.replace("run;sit;jump", "run;sit"))
    try:
        assert main(words(folder, out="other")) == 0
    finally:
        (folder / "list.csv").write_text(text)
    for name in ("out", "other"):
        assert (
            main(["fingerprint", str(folder / name), "--out", f"{folder}/{name}.npz", "--workers", "1"]) == 0
        )
    capsys.readouterr()
    assert main(["compare", f"{folder}/out.npz", f"{folder}/out.npz"]) == 0
    assert main(["compare", f"{folder}/out.npz", f"{folder}/other.npz"]) == 1
    said = capsys.readouterr().out
    assert "1 labelled differently:" in said and "'jump, run, sit' / 'run, sit'" in said


def one_label(row: dict[str, Any], recipe: dict[str, Any]) -> None:
    row["label"] = 1


def of_a_set_with_one(row: dict[str, Any], recipe: dict[str, Any]) -> None:
    del recipe["settings"]["labels"]


def holding(*label: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(row: dict[str, Any], recipe: dict[str, Any]) -> None:
        row["label"] = list(label)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (one_label, "label 1, where each sample has a list of them"),
        (of_a_set_with_one, r"labels \[.*\], where each sample has one"),
        (holding(), r"labels \[\], which are to be one or more, ascending"),
        (holding(1, 0), r"labels \[1, 0\], which are to be one or more, ascending"),
        (holding(1, 1), r"labels \[1, 1\], which are to be one or more, ascending"),
        (holding(0, 3), "label 3 of 3 classes"),
        (holding(0, -3), "samples.0.label.1: input should be greater than or equal to 0, found -3"),
        (holding("x"), "samples.0.label.0: input should be a valid integer, found 'x'"),
        (holding([1]), "samples.0.label.0: input should be a valid integer, found a list"),
    ],
)
def test_a_sidecar_with_labels_of_another_form_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], reason: str
) -> None:
    content = json.loads((folder / "out" / "train" / "shard-000000.json").read_text())
    change(content["samples"][0], content["recipe"])
    (tmp_path / "shard-000000.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        load_sidecar(str(tmp_path / "shard-000000.json"))


def test_a_sample_whose_json_disagrees_with_the_sidecar_is_damage(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = folder / "out" / "train"
    for file in split.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "shard-000000.json"
    content = json.loads(file.read_text())
    row = next(row for row in content["samples"] if row["label"] == [0, 1, 2])
    row["label"] = [0, 2]
    file.write_text(json.dumps(content))
    assert main(["verify", str(tmp_path.parent), "--split", tmp_path.name, "--workers", "1"]) == 1
    assert "its JSON and the sidecar disagree on frames or label" in capsys.readouterr().out

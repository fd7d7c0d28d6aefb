"""The evaluation command: what it prints, and the files that it leaves."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config, evaluate, predict
from pipeline.evaluation.outputs import leaderboard
from pipeline.evaluation.predictions import Predictions
from sharding import storage
from sharding.building import build
from sharding.building.build import Request
from sharding.building.settings import Settings
from tests import networks
from tests.unit.sharding import videos

SMALL = ["model.num_frames=4", "model.depth=26", "data.size=32", "data.short_side=32", "data.workers=0"]
VIEWS = ["views.clips=2", "views.crops=3", "run.precision=fp32"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Something-Something v2 set in shards, a video of each split broken, and the checkpoint of a network."""
    folder = tmp_path_factory.mktemp("root")
    annotations, films = videos.write_set(folder, train=1, validation=5, test=4)
    (films / "7.webm").write_bytes(b"")
    wanted = Settings(short_side=32, samples_per_shard=3)
    build.build(Request("sthv2", annotations, films, str(folder / "shards"), wanted))
    settings = config.override({"data": {"root": "unused"}, "run": {"folder": "unused"}}, SMALL, "test")
    networks.save(folder / "network.pt", settings, videos.CLASSES, wanted.to_dict())
    return folder


def run(root: Path, split: str, *args: str) -> int:
    where = [f"--checkpoint={root}/network.pt", f"--data={root}/shards/{split}"]
    return evaluate.main([*where, *args, *VIEWS])


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def test_a_labelled_split_is_scored_and_told_class_by_class(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, "validation", f"--out={tmp_path}", "--json") == 0
    scores = json.loads((tmp_path / "scores-validation.json").read_text())
    assert json.loads(capsys.readouterr().out) == scores
    assert {path.name for path in tmp_path.iterdir()} == {
        *("predictions-validation.npz", "predictions-validation.csv", "scores-validation.json"),
        *("classes-validation.csv", "confusion-validation.npz", "confusion-validation.csv"),
    }
    views = {"clips": 2, "crops": 3, "size": 32, "short_side": 32, "precision": "fp32"}
    assert scores["views"].items() >= views.items() and scores["videos"] == 5

    with np.load(tmp_path / "predictions-validation.npz") as arrays:
        keys, labels, logits = (arrays[name] for name in ("keys", "labels", "logits"))
    assert keys.tolist() == ["2", "3", "4", "5", "6"] and logits.shape == (5, 3)
    right = logits.argmax(1) == labels
    assert scores["top1"] == pytest.approx(100 * right.mean()) and scores["top5"] == 100
    accuracies = [100 * right[labels == label].mean() for label in sorted(set(labels))]
    assert scores["mean_class"] == pytest.approx(np.mean(accuracies))
    rows = table(tmp_path / "predictions-validation.csv")
    assert [row["class"] for row in rows] == [videos.CLASSES[label] for label in labels]
    assert [row["predicted"] for row in rows] == [videos.CLASSES[best] for best in logits.argmax(1)]
    assert rows[0]["top5"].split() == [str(i) for i in np.argsort(-logits[0])]

    classes = table(tmp_path / "classes-validation.csv")
    assert sum(int(row["videos"]) for row in classes) == 5
    with np.load(tmp_path / "confusion-validation.npz") as arrays:
        counts = arrays["confusion"]
    assert counts.sum() == 5 and counts.trace() == right.sum()
    lines = list(csv.reader(io.StringIO((tmp_path / "confusion-validation.csv").read_text())))
    assert [[int(cell) for cell in line[1:]] for line in lines[1:]] == counts.tolist()


def test_a_split_without_labels_gives_predictions_for_the_leaderboard_and_no_scores(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, "test", f"--out={tmp_path}", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["videos"] == 3 and "1 videos that could not be built" in printed.err
    names = ["leaderboard-test.csv", "predictions-test.csv", "predictions-test.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    lines = [line.split(";") for line in (tmp_path / names[0]).read_text().splitlines()]
    assert [line[0] for line in lines] == ["10", "8", "9"]
    assert all(sorted(line[1:]) == ["0", "1", "2"] for line in lines)
    assert run(root, "test") == 2
    assert "no labels to score against" in capsys.readouterr().err


def test_a_network_whose_logits_are_not_finite_has_no_scores(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would name the first class of every video, which some are of."""
    state = torch.load(root / "network.pt", weights_only=True)
    state["model"]["classifier.bias"] += torch.nan
    torch.save(state, tmp_path / "broken.pt")
    where = [f"--checkpoint={tmp_path}/broken.pt", f"--data={root}/shards/validation"]
    assert evaluate.main([*where, f"--out={tmp_path}/out", *VIEWS]) == 2
    said = capsys.readouterr().err
    assert "the logits of 5 of 5 videos are not finite, in fp32; the network's weights are of no use" in said
    assert not (tmp_path / "out").exists()
    assert predict.main([where[0], f"{root}/videos/3.webm", *VIEWS]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "3.webm: its logits are not finite, in fp32; the network's weights" in said.err


def test_leaderboard_lines_are_those_of_each_version() -> None:
    logits = torch.tensor([[0.0, 5, 1, 4, 2, 3], [9, 1, 2, 3, 4, 5.0]])
    found = Predictions(["100", "7"], torch.tensor([-1, -1]), logits)
    classes = ["Zero", "One, or more", "Two", "Three", "Four", "Five"]
    assert leaderboard("sthv1", classes, found) == "100;One, or more\n7;Zero\n"
    assert leaderboard("sthv2", classes, found) == "100;1;3;5;4;2\n7;0;5;4;3;2\n"


@pytest.mark.parametrize("order", ["reverse", "shuffle"])
def test_another_order_of_frames_is_compared_with_forwards_in_one_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], order: str
) -> None:
    assert run(root, "validation", f"--out={tmp_path}", f"--order={order}", "--json") == 0
    scores, effect = map(json.loads, capsys.readouterr().out.splitlines())
    assert effect == json.loads((tmp_path / f"order-{order}-validation.json").read_text())
    assert (effect["order"], effect["top1_forward"]) == (order, scores["top1"])
    assert effect["drop"] == pytest.approx(effect["top1_forward"] - effect["top1"])
    assert effect["mirrored_classes"] == 2


def test_people_get_tables(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "validation", f"--out={tmp_path}", "--order=reverse") == 0
    scores = json.loads((tmp_path / "scores-validation.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "validation: 5 videos, views 2 x 3 (uniform), 32 of 32, fp32"
    assert lines[1].split() == ["top-1", f"{scores['top1']:.2f}", "%"]
    assert "validation, frames in order reverse" in lines
    assert run(root, "test", f"--out={tmp_path}") == 0
    assert capsys.readouterr().out == "test: 3 videos predicted; they have no labels to score against\n"


@pytest.mark.store
def test_the_files_come_to_a_bucket_too(root: Path, s3: str) -> None:
    assert run(root, "validation", f"--out={s3}/scores") == 0
    assert len(storage.list_names(f"{s3}/scores")) == 6

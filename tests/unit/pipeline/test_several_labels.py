"""Sets whose videos have several labels each, from training to the report, the prediction and the export."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline import config, evaluate, export, predict, report, summary, train
from pipeline.data.clips import eval_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.evaluation import trained
from pipeline.evaluation.average_precision import average_precisions
from pipeline.order import plan
from pipeline.run import checkpoint, journal
from tests import shards
from tests.unit.sharding.videos import write_set

CLASSES = [*shards.CLASSES, "Holding [something]"]
SMALL = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4"]
REST = ["optim.epochs=2", "run.log_steps=1", "run.evaluate_epochs=1", "run.precision=fp32"]


def labels(sample: int) -> tuple[int, ...]:
    """Of three classes in turn, and of two at once; the last class has no video."""
    return [(0,), (0, 2), (1, 2)][sample % 3]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two splits whose videos have several labels, one of them without labels, and a run of four steps."""
    folder = tmp_path_factory.mktemp("root")
    shards.make(folder / "shards", [9], classes=CLASSES, labels=labels)
    shards.make(folder / "shards", [3, 2], split="validation", classes=CLASSES, labels=labels)
    shards.make(folder / "shards", [3], split="test", classes=CLASSES, labels=lambda _: None)
    shards.make(folder / "shards", [5], split="one", classes=CLASSES)
    shards.make(folder / "shards", [9], split="single", classes=CLASSES)
    assert train.main(command(folder)) == 0
    return folder


def command(root: Path, *overrides: str) -> list[str]:
    where = [f"data.root={root}/shards", f"run.folder={root}/run", "data.workers=1"]
    return ["--config", "configs/demo.yaml", *where, *SMALL, *REST, *overrides]


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len([line for line in lines if line.startswith("error: ")]) == 1, lines
    return lines[-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_hands_over_a_row_a_video(root: Path, workers: int) -> None:
    settings = config.load("configs/demo.yaml", command(root)[2:])
    made = shards.manifest.load(f"{root}/shards/validation")
    order = plan.Order(seed=0, lanes=2, window=1)
    stream = ClipStream(made, eval_cutter(settings), order, Passes(4, drop_last=False), 0, 1)
    found = {}
    for batch in batches(stream, workers):
        assert batch.labels.dtype == torch.int8 and batch.labels.shape == (len(batch.keys), 4)
        found |= dict(zip(batch.keys, batch.labels.tolist(), strict=True))
    rows = [[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0]]
    assert found == {f"clip-{sample}": rows[sample % 3] for sample in range(5)}


def test_a_run_reports_mean_average_precision_and_keeps_the_best_by_it(root: Path) -> None:
    lines = journal.read(f"{root}/run/metrics.jsonl")
    steps = [line for line in lines if line["kind"] == "train"]
    scores = [line for line in lines if line["kind"] == "validation"]
    assert len(steps) == 4 and all({"hit1", "hit5"} <= line.keys() for line in steps)
    assert not any("top1" in line for line in lines)
    # With four classes and a fresh network a logit costs about ln 2; a softmax would cost ln 4.
    assert 0.3 < steps[0]["loss"] < 1.2
    assert all((line["classes"], line["classes_without"], line["videos"]) == (3, 1, 5) for line in scores)
    best = json.loads((root / "run" / "checkpoints" / "best.json").read_text())
    assert best["map"] == max(line["map"] for line in scores) and "top1" not in best


def test_training_says_what_it_learns(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["augment.mixup=0.2", "data.repeats=2", "optim.label_smoothing=0.1", "optim.accumulate=2"]
    assert train.main(command(root, f"run.folder={tmp_path}/run", *more, "optim.schedule=plateau")) == 0
    said = capsys.readouterr().out
    assert "4 classes, several labels a video" in said
    assert re.search(r"step 1/4 .* hit@1 \d+\.\d", said)
    assert re.search(r"validation loss \d.*  mAP \d+\.\d\d  hit@1 \d+\.\d\d  \(5 videos\)", said)
    assert "done: best validation mean average precision " in said


def test_an_evaluation_scores_the_ranking_of_every_class(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"--checkpoint={root}/run", f"--data={root}/shards/validation", f"--out={tmp_path}"]
    assert evaluate.main([*where, "--json", "views.crops=3"]) == 0
    scores = json.loads((tmp_path / "scores-validation.json").read_text())
    assert json.loads(capsys.readouterr().out) == scores
    assert {path.name for path in tmp_path.iterdir()} == {
        *("predictions-validation.npz", "predictions-validation.csv"),
        *("scores-validation.json", "classes-validation.csv"),
    }
    with np.load(tmp_path / "predictions-validation.npz") as arrays:
        keys, rows, logits = (arrays[name] for name in ("keys", "labels", "logits"))
    assert keys.tolist() == [f"clip-{i}" for i in range(5)] and rows.dtype == np.int8
    assert [tuple(np.flatnonzero(row)) for row in rows] == [labels(i) for i in range(5)]
    precisions = average_precisions(rows == 1, logits)
    assert scores["map"] == pytest.approx(100 * np.nanmean(precisions)) and scores["classes_without"] == 1
    table = list(csv.DictReader(io.StringIO((tmp_path / "predictions-validation.csv").read_text())))
    assert [row["labels"] for row in table] == ["0", "0 2", "1 2", "0", "0 2"]
    best = 1 / (1 + np.exp(-logits.max(1)))
    assert [float(row["probability"]) for row in table] == pytest.approx(best.tolist(), abs=1e-5)
    classes = list(csv.DictReader(io.StringIO((tmp_path / "classes-validation.csv").read_text())))
    assert {int(row["index"]): int(row["videos"]) for row in classes} == {0: 4, 1: 1, 2: 3}

    assert evaluate.main(where) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("validation: 5 videos, views 1 x 1 (uniform)")
    assert [re.sub(r"  .*", "", line.strip()) for line in lines[1:]] == [
        *("mean average precision", "first answer is a label", "loss", "classes without a video, left out"),
    ]


def test_a_split_without_labels_is_predicted(root: Path, tmp_path: Path) -> None:
    where = [f"--checkpoint={root}/run", f"--data={root}/shards/test", f"--out={tmp_path}"]
    assert evaluate.main(where) == 0
    with np.load(tmp_path / "predictions-test.npz") as arrays:
        assert (arrays["labels"] == -1).all() and arrays["labels"].shape == (3, 4)
    table = csv.DictReader(io.StringIO((tmp_path / "predictions-test.csv").read_text()))
    assert [row["labels"] for row in table] == [""] * 3


def test_the_report_and_the_summary_have_what_makes_sense(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        shutil.copytree(root / "run", tmp_path / name)
        where = [f"--checkpoint={root}/run", f"--data={root}/shards/validation"]
        assert evaluate.main([*where, f"--out={tmp_path}/{name}"]) == 0
    assert report.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    page = (tmp_path / "a" / "report.html").read_text()
    for text in (
        "Mean average precision, %",
        "best mAP",
        "hit@1",
        "average precision, %",
        "Gains and losses",
    ):
        assert text in page
    for text in (
        "Confusion",
        "Confident",
        "Top-1 accuracy",
        "Mean class accuracy",
        "best top-1",
        ">mean class<",
    ):
        assert text not in page
    assert not re.search(r">\s*nan|map<|hit1", page)
    assert "classes: 0 better, 0 worse, 3 as before" in page
    capsys.readouterr()
    assert summary.main([str(tmp_path / "a")]) == 0
    assert re.search(r"validation mAP +\d+\.\d %", capsys.readouterr().out)


def test_a_prediction_gives_each_class_a_probability_of_its_own(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, films = write_set(tmp_path, train=1, validation=0, test=0)
    film = str(next(films.iterdir()))
    assert predict.main([f"--checkpoint={root}/run", "--json", "--top=4", film]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert len(found) == 4 and {answer["class"] for answer in found} == set(CLASSES)
    assert abs(sum(answer["probability"] for answer in found) - 1) > 0.05


def test_what_is_exported_says_how_probabilities_are_made(root: Path) -> None:
    several = export.exportable(trained.load(f"{root}/run", []))
    assert several.about["probabilities"] == "sigmoid"


def test_sets_of_the_two_kinds_do_not_mix(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"run.folder={tmp_path}/run"
    error = refused(capsys, train.main(command(root, folder, "data.validation=one")))
    assert error.endswith(
        f"shards/one: a video has one label, and in {root}/shards/train several labels; build both alike"
    )
    error = refused(capsys, evaluate.main([f"--checkpoint={root}/run", f"--data={root}/shards/one"]))
    assert "shards/one: a video has one label; " in error and "was trained on videos with several" in error
    where = [f"--checkpoint={root}/run", f"--data={root}/shards/validation", "--order=reverse"]
    assert "--order reverse: tells what becomes of top-1" in refused(capsys, evaluate.main(where))
    # A run goes on with the shards that it began with, as ever.
    error = refused(capsys, train.main(command(root, "data.train=single", "data.validation=one")))
    assert "the shards under data.root changed since this run began: a video now has one label" in error


def test_from_one_label_to_several_the_classifier_begins_anew(root: Path, tmp_path: Path) -> None:
    def classifier(run: Path) -> torch.Tensor:
        found: torch.Tensor = checkpoint.load(str(run))["model"]["classifier.weight"]
        return found

    single = ["data.train=single", "data.validation=one", f"run.folder={tmp_path}/single"]
    assert train.main(command(root, *single)) == 0
    # So small a rate moves no weight far from its first value.
    still = ["optim.lr=1e-9", "optim.epochs=1", "optim.weight_decay=0"]
    for start, same in ((tmp_path / "single", False), (root / "run", True)):
        shutil.rmtree(tmp_path / "next", ignore_errors=True)
        more = [f"run.folder={tmp_path}/next", f"init.from={start}", *still]
        assert train.main(command(root, *more)) == 0
        assert torch.allclose(classifier(tmp_path / "next"), classifier(start), atol=1e-4) == same
        stem = "backbone.stem.frames.conv.weight"
        theirs, ours = (checkpoint.load(str(run))["model"][stem] for run in (start, tmp_path / "next"))
        assert torch.allclose(theirs, ours, atol=1e-4)
    assert yaml.safe_load((tmp_path / "next" / "config.yaml").read_text())["init"]["from"] == f"{root}/run"

"""The report of runs: finished, going on, in a bucket, without shards; drawn by a real browser."""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from pipeline import report, summary, train
from pipeline.reporting import curves, record, sortable
from pipeline.run import owner
from sharding import storage
from sharding.format import header
from tests import shards
from tests.pages import Parsed, pixels, screenshot
from tests.stores import upload

HOSTILE = "<script>document.title = 'owned'</script>"
CLASSES = ["Pulling [something] from left to right", "Pushing [something]", HOSTILE]
# Labels are sample numbers modulo 3; samples 1, 3 and 4 of five are mistaken, 3 most confidently.
LOGITS = np.array([[5, 0, 0], [0, 0, 3], [0, 0, 6], [0, 9, 0], [1, 0, 0]], np.float32)
GREEN = (30, 170, 40)


def green(sample: int, number: int, width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREEN, np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards and a run of four steps on them."""
    folder = tmp_path_factory.mktemp("trained")
    shards.make(folder / "shards", [9], classes=CLASSES)
    shards.make(folder / "shards", [3, 2], split="validation", classes=CLASSES, picture=green)
    where = [f"data.root={folder}/shards", f"run.folder={folder}/run", "data.workers=0"]
    small = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4"]
    rest = ["optim.epochs=2", "run.log_steps=1", "run.evaluate_epochs=1"]
    assert train.main(["--config", "configs/demo.yaml", *where, *small, *rest]) == 0
    return folder


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be changed."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path


def evaluated(run: Path) -> None:
    """What `pipeline.evaluate` leaves in a run folder."""
    scores = {"split": "validation", "top1": 40.0, "top5": 100.0, "loss": 2.5, "videos": 5}
    (run / "scores-validation.json").write_text(json.dumps(scores))
    keys = np.array([f"clip-{i}" for i in range(5)])
    np.savez(run / "predictions-validation.npz", keys=keys, labels=np.arange(5) % 3, logits=LOGITS)


def page_text(*runs: Path, out: Path | None = None) -> str:
    rest = ["--out", str(out)] if out else []
    assert report.main([*map(str, runs), *rest]) == 0
    return (out or runs[0] / "report.html").read_text()


def page(*runs: Path, out: Path | None = None) -> Parsed:
    return Parsed(page_text(*runs, out=out))


def test_a_run_without_evaluation_has_its_curves(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parsed = page(root / "run")
    said = capsys.readouterr().out
    assert "run: finished: 4 steps, 2 epochs" in said and f"{root}/run/report.html: " in said
    drawn = [svg for svg in parsed.named("svg") if svg.get("class") == "curves"]
    # Of three classes the first five say nothing, one rank alone is the slowest too, and nothing rare has happened.
    left_out = {"Top-5 accuracy, %", "Clips a second of the slowest rank"} | {
        c.title for c in curves.CHARTS if c.rare
    }
    of_several_labels = {c.title for c in curves.CHARTS if c.validation in ("map", "hit1", "hit5")}
    others = {"Use of the GPU's peak arithmetic, %"} | of_several_labels
    known = [chart.title for chart in curves.CHARTS if chart.title not in left_out | others]
    assert [svg["aria-label"] for svg in drawn] == known
    # Loss and accuracy have two lines, of training and of validation.
    assert len(parsed.named("polyline")) == len(drawn) + 2
    assert "none yet" in parsed.text and not parsed.named("img")


def test_a_run_that_is_still_going_on_and_one_that_is_not(root: Path) -> None:
    lines = (root / "run" / "metrics.jsonl").read_text().splitlines()
    (root / "run" / "metrics.jsonl").write_text("\n".join(lines[:2]) + '\n{"kind": "tra')
    assert "stopped: step 2, in epoch 1 of 2" in page(root / "run").text
    held = owner.claim(str(root / "run"))  # by this process
    assert "going on: step 2, in epoch 1 of 2" in page(root / "run").text
    # What a killed one leaves behind.
    record = json.loads((root / "run" / "owner.json").read_text())
    record |= {"process": "1", "time": record["time"] - 600}
    (root / "run" / "owner.json").write_text(json.dumps(record))
    assert "died, last sign of life 10.0 min ago: step 2" in page(root / "run").text
    held.release()
    (root / "run" / "metrics.jsonl").write_text("")
    assert "no metrics yet" in page(root / "run").text


def test_where_the_best_was_is_told_by_step_and_epoch(root: Path) -> None:
    lines = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "validation":
            line["top1"] = 60.0 - line["epoch"]
    (root / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = page(root / "run").text
    assert "top-159.0" in text and "best top-160.0 after epoch 1, step 2" in text


def test_what_is_rare_gets_a_chart_where_it_happened(root: Path) -> None:
    lines = (root / "run" / "metrics.jsonl").read_text()
    (root / "run" / "metrics.jsonl").write_text(lines.replace('"replaced": 0', '"replaced": 2', 1))
    titles = {svg["aria-label"] for svg in page(root / "run").named("svg")}
    assert "Damaged samples replaced" in titles and "Steps without a finite loss" not in titles


def test_before_the_first_epoch_ends_the_shards_tell_how_long_one_is(root: Path, trained: Path) -> None:
    lines = (root / "run" / "metrics.jsonl").read_text().splitlines()
    (root / "run" / "metrics.jsonl").write_text(lines[0] + "\n")
    assert record.read(str(root / "run"), "x").epoch_steps == 2
    config = (root / "run" / "config.yaml").read_text()
    (root / "run" / "config.yaml").write_text(config.replace(f"{trained}/shards", "/nowhere"))
    assert record.read(str(root / "run"), "x").epoch_steps is None
    assert "step" in page(root / "run").text
    # The last line of an epoch tells too, where the run evaluates more rarely.
    train_lines = [line for line in lines if '"kind": "train"' in line]
    (root / "run" / "metrics.jsonl").write_text("\n".join(train_lines[:3]) + "\n")
    assert record.read(str(root / "run"), "x").epoch_steps == 2


def test_no_raw_keys_are_in_the_text(root: Path) -> None:
    evaluated(root / "run")
    shutil.copytree(root / "run", root / "other")
    config = (root / "other" / "config.yaml").read_text()
    (root / "other" / "config.yaml").write_text(
        config.replace("label_smoothing: 0.0", "label_smoothing: 0.1")
    )
    text = re.sub(
        "<(style|script)>.*?</(style|script)>", "", page_text(root / "run", root / "other"), flags=re.S
    )
    said = Parsed(text).text
    assert "label smoothing" in said
    for places in (str(root), str(root.parent)):
        said = said.replace(places, "")
    assert not re.findall(r"\b[a-z0-9]+_[a-z0-9_]+\b|\b(?:optim|data|run|views|init|model)\.[a-z]+", said)


def test_figures_that_are_not_known_get_a_chart_of_their_name(root: Path) -> None:
    with (root / "run" / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps({"kind": "train", "step": 5, "epoch": 2, "gpu_memory": 1.5, "eta": None}) + "\n"
        )
    titles = [svg["aria-label"] for svg in page(root / "run").named("svg")]
    assert titles[-1] == "Gpu memory" and "Eta" not in titles


def test_several_runs_share_the_drawings(root: Path) -> None:
    shutil.copytree(root / "run", root / "second" / "run")
    parsed = page(root / "run", root / "second" / "run", out=root / "both.html")
    names = [f"{root.name}/run", "second/run"]
    assert all(parsed.text.count(name) >= 3 for name in names)
    charts = len([svg for svg in parsed.named("svg") if svg.get("class") == "curves"])
    colours = [str(line["class"]).split()[0] for line in parsed.named("polyline")]
    assert colours.count("c0") == colours.count("c1") == charts + 2
    assert not (root / "run" / "report.html").exists()


def test_mistakes_and_right_answers_are_shown_with_their_frames(root: Path) -> None:
    evaluated(root / "run")
    parsed = page(root / "run")
    assert "5 videos, top-1 40.00 %" in parsed.text
    sheets = [element for element in parsed.named("div") if element.get("class") == "sample"]
    pictures = parsed.named("img")
    assert len(sheets) == 5 and len(pictures) == 5 * 6
    sizes = {header.read(base64.b64decode(str(image["src"]).partition(",")[2]))[:2] for image in pictures}
    assert sizes == {(48, 40)}
    said = parsed.text[parsed.text.index("Confident mistakes") :]
    first = f"{CLASSES[0]} taken for {CLASSES[1]} · 100.0 % sure · video clip-3"
    assert said.index(first) < said.index("video clip-1") < said.index("video clip-4")
    right = said[said.index("Confident right answers") :]
    assert right.index(f"{HOSTILE} · ") < right.index(f"{CLASSES[0]} · ") and right.count("taken for") == 0
    # Every class, the best recognised first.
    table = parsed.text[parsed.text.index("most mistakes") : parsed.text.index("Confident mistakes")]
    assert table.index(HOSTILE) < table.index(CLASSES[0]) < table.index(CLASSES[1])


def test_what_is_in_the_way_of_pictures_is_said(root: Path, trained: Path) -> None:
    evaluated(root / "run")
    config = (root / "run" / "config.yaml").read_text()
    (root / "run" / "config.yaml").write_text(config.replace(f"{trained}/shards", "/nowhere"))
    parsed = page(root / "run")
    assert "without pictures: /nowhere/validation/manifest.json: no such manifest" in parsed.text
    assert "class 0 taken for class 1" in parsed.text and not parsed.named("img")


def test_predictions_of_other_classes_than_the_runs_have_their_numbers(root: Path) -> None:
    """Released weights of another data set, scored into the run's folder."""
    evaluated(root / "run")
    logits = np.concatenate([LOGITS, LOGITS + 1], axis=1)
    keys = np.array([f"clip-{i}" for i in range(5)])
    np.savez(root / "run" / "predictions-validation.npz", keys=keys, labels=np.arange(5), logits=logits)
    text = page(root / "run").text
    assert "class 4" in text and CLASSES[0] not in text


def test_a_damaged_sample_does_not_stop_the_report(root: Path, trained: Path) -> None:
    evaluated(root / "run")
    shutil.copytree(trained / "shards", root / "shards")
    config = (root / "run" / "config.yaml").read_text()
    (root / "run" / "config.yaml").write_text(config.replace(f"{trained}/shards", f"{root}/shards"))
    tar = root / "shards" / "validation" / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    parsed = page(root / "run")
    assert "damaged: its CRC-32 differs" in parsed.text and len(parsed.named("img")) == 4 * 6


def test_what_evaluate_wrote_is_in_the_tables(root: Path) -> None:
    evaluated(root / "run")
    scores = json.loads((root / "run" / "scores-validation.json").read_text())
    views = {
        "clips": 3,
        "crops": 10,
        "sampling": "dense",
        "size": 224,
        "short_side": 256,
        "precision": "fp32",
    }
    scores |= {"mean_class": 33.25, "views": views}
    (root / "run" / "scores-validation.json").write_text(json.dumps(scores))
    effect = {"top1_forward": 40.0, "top1": 15.5, "drop": 24.5, "mirrored_classes": 2, "recognised": 1}
    content = {"split": "validation", "order": "reverse", **effect, "flipped": None}
    (root / "run" / "order-reverse-validation.json").write_text(json.dumps(content))
    text = page(root / "run").text
    assert "33.25" in text and "3 x 10 (dense), 224 of 256, fp32" in text
    assert "reverse" in text and "24.50" in text and "taken for the mirror" not in text


def test_the_score_of_released_weights_is_not_the_runs(root: Path) -> None:
    lines = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    own = [line["top1"] for line in lines if line["kind"] == "validation"][-1]
    given = {
        "split": "validation",
        "checkpoint": "best.json",
        "top1": 12.5,
        "top5": 100.0,
        "loss": 2.5,
        "videos": 5,
    }
    for model, shown in (({}, "12.5 %, of best.json"), ({"model": "released"}, f"{own:.1f} %, after step 4")):
        (root / "run" / "scores-validation.json").write_text(json.dumps({**given, **model}))
        assert ("validation top-1", shown) in summary.rows(str(root / "run"))
    assert own != 12.5


def test_two_runs_are_compared_class_by_class(root: Path) -> None:
    evaluated(root / "run")
    shutil.copytree(root / "run", root / "other")
    text = page(root / "run", root / "other", out=root / "both.html").text
    assert "other against run: validation" in text and "classes: 0 better, 0 worse, 3 as before" in text
    assert "What differs between the runs" in text and "nothing but the run folder" in text


def test_nothing_on_the_page_comes_from_elsewhere_or_runs_but_its_own_script(root: Path) -> None:
    evaluated(root / "run")
    parsed = page(root / "run")
    assert {name for name, _ in parsed.elements}.isdisjoint({"link", "iframe", "object", "form"})
    assert parsed.named("script") == [{}]
    policy = next(str(meta["content"]) for meta in parsed.named("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(sortable.SCRIPT.encode()).digest()).decode()
    assert (
        policy
        == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    for _, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:")).startswith("data:")
    assert HOSTILE in parsed.text


def test_a_published_model_has_its_score_beside_it(tmp_path: Path) -> None:
    classes = [f"class {i}" for i in range(174)]
    made = shards.make(tmp_path / "shards", [3], split="validation", classes=classes)
    run = tmp_path / "run"
    run.mkdir()
    model = {"depth": 50, "num_frames": 16}
    tree = {"model": model, "data": {"root": f"{tmp_path}/shards"}, "run": {"folder": str(run)}}
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    views = {
        "clips": 1,
        "crops": 1,
        "sampling": "uniform",
        "size": 224,
        "short_side": 224,
        "precision": "fp32",
    }
    scores = {"split": "validation", "top1": 60.1, "top5": 90.0, "loss": 1.0, "videos": 3}

    def scored(**more: Any) -> str:
        """The page after such an evaluation."""
        (run / "scores-validation.json").write_text(json.dumps({**scores, **more}))
        return page(run).text

    manifest = Path(made.root) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dataset": "test"', '"dataset": "sthv2"'))
    text = scored(views=views)
    assert "blvnet-tam-50-f8x2-v2" in text and "59.1" in text and "+1.0" in text and "(+1.0)" not in text
    assert "1 x 1 (uniform), 224 of 224, fp32" in text
    assert "Published scores are of 1 x 1 (uniform), 224 of 224;" in text
    assert "1 x 1 (uniform), 224 of 256, bf16" in text  # what the run itself validates
    # The difference is in brackets where the videos were seen in another way, or in one that nobody wrote down.
    for changed in ({"short_side": 256}, {"clips": 10, "crops": 3}, {"sampling": "dense"}, {"size": "full"}):
        assert "(+1.0)" in scored(views={**views, **changed})
    assert "(+1.0)" in scored()
    other = {"model": "blvnet-tam-50-f16x2-v2", "published": {"top1": 61.7}}
    text = scored(views=views, **other)
    assert "validation (released blvnet-tam-50-f16x2-v2)" in text and "61.7" in text and "-1.6" in text
    for changed in ({"beta": 2}, {"in_channels": 10}):
        tree["model"] = {**model, **changed}
        (run / "config.yaml").write_text(yaml.safe_dump(tree))
        text = page(run).text
        assert "59.1" not in text and "brackets" not in text
    assert "depth 50, f8x2, flow" in text


def test_runs_are_called_by_what_tells_them_apart() -> None:
    assert record.names(["s3://bucket/runs/a/", "/x/b"]) == ["a", "b"]
    assert record.names(["x/a/run", "x/b/run"]) == ["a/run", "b/run"]
    assert record.names(["run", "run"]) == ["run", "run"]


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/config.yaml: no such file\n"


@pytest.mark.store
def test_a_run_in_a_bucket_has_its_report_beside_it(root: Path, s3: str) -> None:
    for name in ("config.yaml", "metrics.jsonl"):
        upload(root / "run" / name, storage.join(s3, "run", name))
    assert report.main([storage.join(s3, "run")]) == 0
    assert Parsed(storage.read_bytes(storage.join(s3, "run", "report.html")).decode()).named("polyline")


@pytest.mark.browser
def test_a_browser_draws_the_curves_and_the_pictures(root: Path) -> None:
    evaluated(root / "run")
    shutil.copytree(root / "run", root / "other")
    page(root / "run", root / "other", out=root / "page.html")
    drawn = screenshot(root / "page.html", 1400, 8000)
    assert pixels(drawn, GREEN) == pytest.approx(2 * 5 * 6 * 48 * 40, rel=0.1)
    # The first run's curves lie under the second's, but its mark in the legend does not.
    assert pixels(drawn, (0x3F, 0x83, 0xC5)) > 100 and pixels(drawn, (0xE0, 0x7B, 0x28)) > 500
    # The cells of the confusion matrix where a whole class is taken for one.
    assert pixels(drawn, (0x3B, 0x6E, 0xA5)) > 10_000
    assert (drawn[:, -1] == 255).all()  # nothing wider than the window

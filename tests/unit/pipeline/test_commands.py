"""The commands: a user's mistake ends in one line on stderr and exit status 2."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from blvnet import BLVNetTAM
from pipeline import evaluate, export, summary, train
from pipeline.config import Init
from pipeline.evaluation import trained
from pipeline.order import plan
from pipeline.run import checkpoint, journal
from pipeline.training.initialise import initialise
from sharding.format import manifest
from tests import shards

SMALL = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4", "optim.epochs=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two splits, and a run of two steps trained on them."""
    folder = tmp_path_factory.mktemp("root")
    shards.make(folder / "shards", [9])
    shards.make(folder / "shards", [5], split="validation")
    shards.make(folder / "shards", [3], split="test", labelled=False)
    shards.make(folder / "shards", [3], split="other", classes=shards.CLASSES[::-1])
    assert train.main(command(folder)) == 0
    return folder


def command(root: Path, *overrides: str) -> list[str]:
    where = [f"data.root={root}/shards", f"run.folder={root}/run", "data.workers=0", "run.precision=fp32"]
    return ["--config", "configs/demo.yaml", *where, *SMALL, *overrides]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.rate=1"], "command line: unknown key optim.rate; did you mean optim.lr?"),
        (["data.root=/nowhere"], "/nowhere/train/manifest.json: no such manifest"),
        (["optim.global_batch=10"], "optim.global_batch: 10 is more than the 9 samples"),
        (
            ["optim.global_batch=3", "augment.mixup=0.2"],
            "augment.mixup: 3 videos a step and rank are no pairs",
        ),
        (["run.seed=5"], "run.seed changed since this run began (from 0 to 5)"),
        (["data.window=2"], "data.window changed since this run began"),
        (["data.lanes=7"], "data.lanes changed since this run began"),
        (["data.validation=other"], "shards/other: its classes are not those of"),
        (["model.num_frames=4"], "model.num_frames was 2 when this was trained, and cannot be 4"),
        (["run.folder={new}", "init.from=/nowhere.pt"], "/nowhere.pt"),
        (
            ["run.folder={new}", "data.train=test", "optim.global_batch=2"],
            "have no labels; train and validate on labelled splits",
        ),
    ],
)
def test_train_names_the_mistake(
    root: Path, tmp_path: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [text.format(new=tmp_path / "new") for text in overrides]
    capsys.readouterr()
    assert train.main(command(root, *filled)) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_evaluate_names_the_mistake(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(checkpoint: Path, split: str) -> str:
        capsys.readouterr()
        assert evaluate.main(["--checkpoint", str(checkpoint), "--data", f"{root}/shards/{split}"]) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        return printed

    assert "latest.json" in error(tmp_path / "nowhere", "validation")
    assert "no labels" in error(root / "run", "test")
    assert "manifest.json" in error(root / "run", "holdout")
    deeper = ["--checkpoint", f"{root}/run", "--data", f"{root}/shards/validation", "model.depth=50"]
    assert evaluate.main(deeper) == 2
    assert "model.depth was 26 when this was trained" in capsys.readouterr().err
    (newest,) = (root / "run" / "checkpoints").glob("*.pt")
    (tmp_path / "short.pt").write_bytes(newest.read_bytes()[:1000])
    assert "short.pt: damaged, or not a checkpoint" in error(tmp_path / "short.pt", "validation")


def test_a_finished_run_starts_and_ends_without_a_step(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (root / "run" / "metrics.jsonl").read_text()
    assert train.main(command(root)) == 0
    assert "after 2 steps" in capsys.readouterr().out
    assert (root / "run" / "metrics.jsonl").read_text() == lines


def test_consumers_that_do_not_divide_the_lanes_are_told_what_it_costs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(command(root, f"run.folder={tmp_path}", "data.lanes=3", "data.workers=2")) == 0
    told = "1 ranks x 2 workers do not divide the run's 3 lanes: the shards are read 2 times an epoch"
    assert f"warning: {told}\n" in capsys.readouterr().err


def test_a_resumed_run_takes_the_configurations_optimiser(root: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    changed = ["optim.weight_decay=0.1", "optim.momentum=0.5", "optim.nesterov=false"]
    for folder, changes in ((one, []), (two, changed)):
        shutil.copytree(root / "run", folder)
        assert train.main(command(root, f"run.folder={folder}", "optim.epochs=2", *changes)) == 0
    groups = [checkpoint.load(str(folder))["optimizer"]["param_groups"][0] for folder in (one, two)]
    settings = [(g["weight_decay"], g["momentum"], g["nesterov"]) for g in groups]
    assert settings == [(5e-4, 0.9, True), (0.1, 0.5, False)]


def test_checkpoints_come_by_time_too_and_curves_are_written(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert (
        train.main(command(root, f"run.folder={folder}", "run.checkpoint_minutes=1e-6", "run.log_steps=1"))
        == 0
    )
    latest = json.loads((folder / "checkpoints" / "latest.json").read_text())
    assert [entry["step"] for entry in latest["kept"]] == [2, 1]
    (events,) = folder.glob("events.out.tfevents.*")
    content = events.read_bytes()
    for name in (
        b"train/loss",
        b"validation/top1",
        b"train/nonfinite",
        b"train/replaced",
        b"validation/videos",
    ):
        assert name in content
    assert b"configuration" in content and (b"    optim:\n      global_batch: 4\n" in content)


def test_the_next_model_starts_from_the_last_ones_weights(root: Path, tmp_path: Path) -> None:
    longer = ["model.num_frames=4", f"run.folder={tmp_path}/run", f"init.from={root}/run", "optim.lr=1e-30"]
    assert train.main(command(root, *longer, "optim.weight_decay=0", "optim.frozen_norm=all")) == 0
    states = [
        torch.load(next((f / "checkpoints").glob("*.pt")), weights_only=True)
        for f in (root / "run", tmp_path / "run")
    ]
    short, long = (state["model"] for state in states)
    torch.testing.assert_close(long, short, rtol=0, atol=1e-20)


def test_a_longer_model_can_start_with_the_statistics_of_its_own_clips(root: Path, tmp_path: Path) -> None:
    longer = ["model.num_frames=4", f"init.from={root}/run", "optim.lr=1e-30", "optim.weight_decay=0"]
    folders = [str(tmp_path / name) for name in ("kept", "new")]
    for folder, batches in zip(folders, (0, 2), strict=True):
        extra = [f"run.folder={folder}", f"init.norm_batches={batches}", "optim.frozen_norm=all"]
        assert train.main(command(root, *longer, *extra)) == 0
    kept, new = (checkpoint.load(folder)["model"] for folder in folders)
    moved = {name for name in kept if not torch.allclose(kept[name], new[name], rtol=0, atol=1e-20)}
    assert moved == {name for name in kept if name.endswith(("running_mean", "running_var"))}


def test_the_average_of_the_weights_is_evaluated_exported_and_started_from(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert train.main(command(root, f"run.folder={folder}", "optim.ema_decay=0.5", "optim.lr=0.1")) == 0
    state = checkpoint.load(str(folder))
    bias = "classifier.bias"
    assert not torch.equal(state["ema"][bias], state["model"][bias])
    during = [line for line in journal.read(str(folder / "metrics.jsonl")) if line["kind"] == "validation"]
    capsys.readouterr()
    assert evaluate.main(["--checkpoint", str(folder), "--data", f"{root}/shards/validation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(during[-1]["loss"], abs=1e-5)
    assert torch.equal(export.exportable(trained.load(str(folder), [])).state[bias], state["ema"][bias])
    model = BLVNetTAM(num_classes=len(state["classes"]), **state["config"]["model"])
    initialise(model, Init(from_=str(folder)))
    assert torch.equal(model.classifier.bias, state["ema"][bias])


def test_the_summary_shows_the_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert summary.main([str(root / "run")]) == 0
    table = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert table["train videos"].strip() == "9 in 1 shards"
    assert table["steps"].strip() == "2 of 4 clips"
    scores = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    top1 = next(line["top1"] for line in scores if line["kind"] == "validation")
    assert table["validation top-1"].strip() == table["best top-1"].strip() == f"{top1:.1f} %, after step 2"
    assert summary.main([str(root / "nowhere")]) == 2


def test_changed_shards_are_told_by_what_differs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.make(tmp_path / "shards", [4, 7], classes=["a", "b", "c", "d"])
    shards.make(tmp_path / "shards", [5], split="validation", classes=["a", "b", "c", "d"])
    shutil.copytree(root / "run", tmp_path / "run")
    capsys.readouterr()
    assert train.main(command(root, f"data.root={tmp_path}/shards", f"run.folder={tmp_path}/run")) == 2
    told = capsys.readouterr().err
    assert "the shards under data.root changed since this run began: " in told
    assert "shards 1 -> 2; videos 9 -> 11; samples_per_shard 9 -> 7; classes: 3 -> 4" in told
    assert told.count("\n") == 1 and not re.search("[0-9a-f]{16}", told)


def test_a_finished_run_has_nothing_to_do_and_says_what_it_has(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(command(root)) == 0
    told = capsys.readouterr().out
    assert "nothing to do: all 2 steps are done; a higher optim.epochs trains on" in told
    assert "done: best validation top-1 " in told and f"{root}/run/checkpoints/best.json" in told
    assert not (root / "run" / "owner.json").exists()


def test_a_run_that_an_earlier_release_began_goes_on_in_its_own_order(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(root / "run", folder)
    (newest,) = (folder / "checkpoints").glob("*.pt")
    state = torch.load(newest, weights_only=True)
    # That release took data.window for each lane, and had ranks x workers lanes.
    state["position"] |= {"lanes": 3, "window": 5}
    del state["position"]["run_window"]
    state["config"]["data"]["window"] = 5
    torch.save(state, newest)
    latest = folder / "checkpoints" / "latest.json"
    index = json.loads(latest.read_text())
    index["kept"][0]["sha256"] = hashlib.sha256(newest.read_bytes()).hexdigest()
    latest.write_text(json.dumps(index))
    capsys.readouterr()
    assert (
        train.main(
            command(
                root,
                f"run.folder={folder}",
                "optim.epochs=2",
                "run.audit=true",
                *("data.lanes=null", "data.window=5"),
            )
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "seed 0, 3 lanes of window 5" in printed
    assert "data.window" not in printed
    split = manifest.load(f"{root}/shards/train")
    keys = [sample.row.key for shard in range(len(split.shards)) for sample in shards.samples(split, shard)]
    order = plan.epoch_order(np.array([9]), plan.Order(seed=0, lanes=3, window=5), epoch=1)
    (log,) = (folder / "audit").glob("from-*.jsonl")
    used = [key for line in log.read_text().splitlines() for key in json.loads(line)["keys"]]
    assert used == [keys[place] for place in order][:8]

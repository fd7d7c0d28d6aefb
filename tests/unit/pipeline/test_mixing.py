"""A training on several shard sets: what it says, what it keeps, and the line that each mistake gives."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline import audit, bench, config, summary, train
from pipeline.checking import request
from pipeline.run import checkpoint
from sharding.errors import UserError
from tests import shards

SMALL = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4", "optim.epochs=2"]
REST = ["run.precision=fp32", "run.audit=true", "data.workers=0", "run.log_steps=1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets, and a run of six steps on two of them."""
    folder = tmp_path_factory.mktemp("root")
    shards.make(folder / "main", [9])
    shards.make(folder / "main", [5], split="validation")
    shards.make(folder / "extra", [6], classes=shards.CLASSES[::-1])
    shards.make(folder / "more", [4, 3])
    shards.make(folder / "copy", [9])
    shards.make(folder / "classes", [4], classes=[*shards.CLASSES[:2], "Spining [something]"])
    shards.make(folder / "several", [4], labels=lambda sample: (sample % 3,))
    shards.make(folder / "unlabelled", [4], labelled=False)
    shards.make(folder / "other", [4], split="val")
    assert train.main(command(folder, extra=0.5)) == 0
    return folder


def command(root: Path, *overrides: str, **mix: float) -> list[str]:
    where = [f"data.root={root}/main", f"run.folder={root}/run"]
    if mix:
        where.append(f"data.mix={{{', '.join(f'{root}/{name}: {weight}' for name, weight in mix.items())}}}")
    return ["--config", "configs/demo.yaml", *where, *SMALL, *REST, *overrides]


def test_a_run_keeps_its_mixture_and_its_record_is_proven(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    position = checkpoint.load(f"{root}/run")["position"]
    (share,) = position["mix"]
    assert (share["split"], share["weight"], share["samples"]) == (f"{root}/extra/train", 0.5, 3)
    assert (position["steps_in_epoch"], position["done"]) == (3, 6)
    mix = {f"{root}/extra": 0.5}
    assert yaml.safe_load((root / "run" / "config.yaml").read_text())["data"]["mix"] == mix
    (start,) = (root / "run" / "starts").iterdir()
    assert json.loads(start.read_text())["config"]["data"]["mix"] == mix
    assert audit.main([f"{root}/run"]) == 0
    said = capsys.readouterr().out
    assert summary.main([f"{root}/run"]) == 0
    assert f"mixed videos       6 in 1 shards of {root}/extra, weight 0.5\n" in capsys.readouterr().out
    assert f"set 1        6 of these, each of the 6 samples of {root}/extra/train 1 times" in said


def test_the_start_of_a_run_says_what_is_mixed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(command(root, extra=0.5)) == 0
    said = capsys.readouterr().out
    assert f"  mixture  12 videos an epoch: 75.0% of them from {root}/main/train\n" in said
    assert f"           25.0%: 3 from the 6 of {root}/extra/train, weight 0.5 (set 1)\n" in said
    assert "what an epoch takes is read once" in said


@pytest.mark.parametrize(
    ("mix", "says"),
    [
        (
            {"extra": 1},
            "the weight of {root}/extra/train in the mixture changed since this run began (from 0.5 to 1",
        ),
        ({}, "the weight of {root}/extra/train in the mixture changed since this run began (from 0.5 to 0)"),
        (
            {"extra": 0.5, "more": 2},
            "the weight of {root}/more/train in the mixture changed since this run began (from 0",
        ),
    ],
)
def test_another_mixture_is_refused_and_named(
    root: Path, mix: dict[str, float], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(command(root, **mix)) == 2
    printed = capsys.readouterr().err
    assert says.format(root=root) in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "{root}/nowhere/train/manifest.json: no such manifest"),
        ("other", "there are val: build that split too"),
        ("main", "{root}/main/train: data.mix has it twice: it is the same set as {root}/main/train"),
        ("copy", "{root}/copy/train: data.mix has it twice: it is the same set as {root}/main/train"),
        ("classes", "its class 'Spining [something]' is none of the 3 there"),
        ("several", "a video has several labels, and there one label; build both alike"),
        ("unlabelled", "{root}/unlabelled/train: its samples have no labels"),
    ],
)
def test_what_cannot_be_mixed_is_one_line(
    root: Path, tmp_path: Path, name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(command(root, f"run.folder={tmp_path}/run", **{name: 1})) == 2
    printed = capsys.readouterr().err
    assert says.format(root=root) in printed and printed.count("\n") == 1


def test_a_look_before_a_job_and_a_measurement_know_the_mixture(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(root, f"run.folder={tmp_path}/run", more=2)
    chosen = config.load(words[1], words[2:])
    assert request.check(chosen, 1)[1:] == [
        f"mixed with 14 of 7 videos of {root}/more/train an epoch",
        "5 steps of 4 videos an epoch, 4 a rank and step",
    ]
    away = command(root, f"run.folder={tmp_path}/run", nowhere=1)
    with pytest.raises(UserError, match=r"nowhere/train/manifest\.json: no such manifest"):
        request.check(config.load(away[1], away[2:]), 1)
    assert bench.main(["loader", *words, "--seconds", "0.2"]) == 0
    assert "9 videos in 1 shards, and 1 sets of data.mix; clips of" in capsys.readouterr().out

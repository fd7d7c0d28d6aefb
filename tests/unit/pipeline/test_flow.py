"""Optical flow from its pictures to scores: built, trained, resumed, evaluated, exported; never taken for colour."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from blvnet import weights
from pipeline import bench, config, evaluate, export, predict, train
from pipeline.config import Init
from pipeline.measuring import rates
from pipeline.run import checkpoint, journal
from pipeline.training.initialise import initialise
from pipeline.training.network import build_model
from sharding import cli
from tests import shards
from tests.unit.sharding.flows import write_flow_set

EPOCHS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of flow in shards, one of colour, and a run on the flow from its start to its end."""
    folder = tmp_path_factory.mktemp("root")
    annotations, videos = write_flow_set(folder, train=10, validation=4, size=(48, 40))
    (videos / "3" / "flow_y_00002.jpg").unlink()
    build = ["build", "--dataset=sthv2", f"--annotations={annotations}", f"--videos={videos}"]
    made = [f"--out={folder}/flow-shards", "--input=flow", "--short-side=40", "--samples-per-shard=5"]
    assert cli.main([*build, *made, "--workers=1", "--max-failures=1"]) == 0
    assert cli.main(["verify", f"{folder}/flow-shards", "--workers=1"]) == 0
    shards.make(folder / "colour", [9])
    shards.make(folder / "colour", [4], split="validation")
    assert train.main(command(folder, "whole")) == 0
    return folder


def command(root: Path, run: str, *overrides: str) -> list[str]:
    where = [f"data.root={root}/flow-shards", f"run.folder={root}/{run}"]
    small = ["data.size=32", "data.short_side=32", "model.num_frames=4", "optim.global_batch=4"]
    flow = ["model.in_channels=10", "augment.mixup=0.4", "data.frames_per_group=2", "data.workers=0"]
    exact = [
        "run.precision=fp32",
        "run.deterministic=true",
        "run.log_steps=1",
        "run.evaluate_epochs=1",
        f"optim.epochs={EPOCHS}",
    ]
    return ["--config", "configs/demo.yaml", *where, *small, *flow, *exact, "optim.lr=0.01", *overrides]


def error(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    return printed


def test_a_video_without_a_picture_is_a_recorded_failure(root: Path) -> None:
    recorded = (root / "flow-shards" / "train" / "failures.csv").read_text().splitlines()[1:]
    assert len(recorded) == 1
    assert recorded[0].startswith("3,picture flow_x_00002.jpg has no partner flow_y_00002.jpg,")


def test_it_trains_and_is_scored(root: Path) -> None:
    lines = list(journal.read(str(root / "whole" / "metrics.jsonl")))
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    assert [line["videos"] for line in lines if line["kind"] == "validation"] == [4, 4]
    stem = checkpoint.load(f"{root}/whole")["model"]["backbone.stem.frames.conv.weight"]
    assert stem.shape[1] == 10


def test_a_run_that_goes_on_ends_where_the_whole_one_ends(root: Path) -> None:
    assert train.main(command(root, "parts", "optim.epochs=1", "optim.schedule=constant")) == 0
    assert train.main(command(root, "parts", "optim.schedule=constant")) == 0
    assert train.main(command(root, "constant", "optim.schedule=constant")) == 0
    parts, whole = (checkpoint.load(f"{root}/{run}")["model"] for run in ("parts", "constant"))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in parts.items())


def test_it_starts_from_a_network_of_colour_by_the_mean_of_its_colours(root: Path, tmp_path: Path) -> None:
    colour, flow = (
        build_model(config.override({"data": {"root": "x"}, "run": {"folder": "x"}}, [kind], "test"), 3)
        for kind in ("model.in_channels=3", "model.in_channels=10")
    )
    torch.save({"model": colour.state_dict(), "config": {}}, tmp_path / "colour.pt")
    initialise(flow, Init.model_validate({"from": str(tmp_path / "colour.pt")}))
    mean = colour.get_parameter(weights.STEM_CONV).mean(1, keepdim=True)
    assert torch.equal(flow.get_parameter(weights.STEM_CONV), mean.expand(-1, 10, -1, -1))
    assert torch.equal(flow.classifier.weight, colour.classifier.weight)


def test_an_evaluation_says_that_it_is_of_flow_and_by_groups(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--checkpoint={root}/whole", f"--data={root}/flow-shards/validation"]
    assert evaluate.main([*words, "--json", "views.crops=10", "views.clips=2"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["videos"] == 4
    assert scores["views"].items() >= {"in_channels": 10, "frames_per_group": 2}.items()
    assert evaluate.main(words) == 0
    assert "1 x 1 (uniform, by 2, flow), 32 of 32, fp32" in capsys.readouterr().out


def test_an_export_says_what_it_takes(root: Path, tmp_path: Path) -> None:
    for kind in ("safetensors", "torch"):
        assert (
            export.main([f"--checkpoint={root}/whole", f"--format={kind}", f"--out={tmp_path}/{kind}"]) == 0
        )
    with safe_open(tmp_path / "safetensors", "pt") as file:
        about = file.metadata()
    assert json.loads(about["mean"]) == [0.5] * 10
    assert json.loads(about["std"]) == pytest.approx([0.226] * 10)
    assert json.loads(about["model"])["in_channels"] == 10
    extra = {"about.json": ""}
    program = torch.export.load(tmp_path / "torch", extra_files=extra)
    assert (
        "optical flow, x and y by turns, (batch, 4, 10, 32, 32)" in json.loads(extra["about.json"])["input"]
    )
    assert program.module()(torch.zeros(1, 4, 10, 32, 32, dtype=torch.uint8)).shape == (1, 3)


def test_it_can_be_measured(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = f"--save={tmp_path}/rates.json"
    assert bench.main(["loader", "--seconds=0.1", saved, *command(root, "none", "data.repeats=2")]) == 0
    assert rates.load(f"{tmp_path}/rates.json").clip_bytes == 4 * 10 * 32 * 32
    assert bench.main(["step", "--steps=1", *command(root, "none")]) == 0
    assert "clips of 4 frames" in capsys.readouterr().out


def test_flow_for_a_network_of_colour_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(command(root, "none", "model.in_channels=3")) == 2
    assert "flow-shards/train: optical flow" in error(capsys)
    for what in ("loader", "headspace"):
        assert bench.main([what, *command(root, "none", "model.in_channels=3")]) == 2
        assert "flow-shards/train: optical flow" in error(capsys)


def test_colour_for_a_network_of_flow_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(command(root, "none", f"data.root={root}/colour")) == 2
    assert "colour/train: pictures in colour" in error(capsys)
    # Of as many classes with the same names, else these are what differs.
    other = root / "renamed"
    shards.make(other, [4], split="validation", classes=checkpoint.load(f"{root}/whole")["classes"])
    assert evaluate.main([f"--checkpoint={root}/whole", f"--data={other}/validation"]) == 2
    assert "renamed/validation: pictures in colour" in error(capsys)


def test_a_video_for_a_network_of_flow_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main([f"--checkpoint={root}/whole", "a.webm"]) == 2
    assert "a network of optical flow, which a video is not" in error(capsys)


def test_a_network_of_colour_cannot_go_on_as_one_of_flow(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints of before this setting do not name it."""
    old = root / "old.pt"
    state = checkpoint.load(f"{root}/whole")
    del state["config"]["model"]["in_channels"]
    torch.save(state, old)
    words = [f"--checkpoint={old}", f"--data={root}/flow-shards/validation", "model.in_channels=10"]
    assert evaluate.main(words) == 2
    assert "model.in_channels was 3 when this was trained, and cannot be 10" in error(capsys)

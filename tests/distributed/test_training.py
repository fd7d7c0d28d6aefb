"""Training on several processes: the same as on one, and the same after a kill as without it."""

import json
import sys
from pathlib import Path

import pytest
import torch

from pipeline.run import checkpoint, journal
from tests import audits, shards
from tests.processes import descendants, kill_tree, run, started, torchrun, wait_until

EPOCHS, STEPS = 2, 6  # of 8 clips each, from 50 samples


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shards")
    shards.make(folder, [20, 16, 14])
    shards.make(folder, [7, 4], split="validation")
    return str(folder)


def training(ranks: int, root: str, folder: Path, *overrides: str) -> list[str]:
    return torchrun(
        ranks,
        "pipeline.train",
        "--config=configs/demo.yaml",
        *(
            f"data.root={root}",
            f"run.folder={folder}",
            "data.size=32",
            "data.short_side=32",
            "data.window=32",
        ),
        *("model.num_frames=4", "model.dropout=0.5", "optim.global_batch=8", f"optim.epochs={EPOCHS}"),
        *(
            "run.log_steps=1",
            "run.audit=true",
            "run.deterministic=true",
            "run.precision=fp32",
            "data.lanes=4",
        ),
        *("augment.operations=2", "augment.jitter=0.2", "augment.mixup=0.4", "optim.classifier_lr=2"),
        *overrides,
    )


def losses(folder: Path) -> dict[int, float]:
    return {
        line["step"]: line["loss"]
        for line in journal.read(str(folder / "metrics.jsonl"))
        if line["kind"] == "train"
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = checkpoint.load(str(folder))["model"]
    return tensors


@pytest.fixture(scope="module")
def uninterrupted(root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a two-process run from start to end."""
    folder = tmp_path_factory.mktemp("run")
    run(training(2, root, folder))
    return folder


@pytest.mark.world(2)
def test_two_processes_train_like_one(root: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # Each process normalises over its own part of the batch, and drops its own features: both are left out here.
    same = ("optim.frozen_norm=all", "model.dropout=0.0", "optim.lr=0.005", "data.repeats=2")
    run(training(1, root, one, *same))
    run(training(2, root, two, *same))
    assert audits.keys_by_step(str(one)) == audits.keys_by_step(str(two))
    assert len(audits.keys_by_step(str(one))) == EPOCHS * STEPS
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-4)
    assert any(not torch.equal(tensor, torch.zeros_like(tensor)) for tensor in ours.values())


def saved(folder: Path) -> int:
    """The steps in the newest checkpoint of a run, 0 before there is one."""
    index = folder / "checkpoints" / "latest.json"
    return int(json.loads(index.read_text())["step"]) if index.exists() else 0


def killed(command: list[str], folder: Path, log: Path, at_step: int) -> None:
    """Start a run and kill all its processes as soon as `at_step` steps are reported and a checkpoint is complete.

    A checkpoint is written beside training, so that steps after it may be reported before it is there.
    """
    with started(command, log) as process:
        wait_until(lambda: saved(folder) > 0 and len(losses(folder)) >= at_step, 120, process, log)
        assert len(descendants(process.pid)) >= 2
        kill_tree(process)


@pytest.mark.world(2)
@pytest.mark.parametrize("at_step", [5, 9])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    root: str, uninterrupted: Path, tmp_path: Path, at_step: int
) -> None:
    folder = tmp_path / "run"
    command = training(2, root, folder, "run.checkpoint_steps=4")
    killed(command, folder, tmp_path / "log", at_step)
    resumed_at = checkpoint.load(str(folder))["position"]["done"]
    assert 0 < resumed_at < EPOCHS * STEPS
    output = run(command).stdout
    assert f"resuming {folder} after {resumed_at} steps" in output
    assert audits.keys_by_step(str(folder)) == audits.keys_by_step(str(uninterrupted))
    assert losses(folder) == losses(uninterrupted)
    assert len(losses(folder)) == EPOCHS * STEPS
    expected = weights(uninterrupted)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items())


@pytest.mark.world(2)
def test_a_run_killed_on_two_processes_goes_on_with_one(
    root: str, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    killed(training(2, root, folder, "run.checkpoint_steps=4"), folder, tmp_path / "log", at_step=5)
    run(training(1, root, folder))
    assert audits.keys_by_step(str(folder)) == audits.keys_by_step(str(uninterrupted))
    assert "\nproven: " in run([sys.executable, "-m", "pipeline.audit", str(folder)]).stdout

"""Training on several shard sets: killed on two ranks and gone on with as one, with the record that proves it."""

import sys
from pathlib import Path

import pytest

from pipeline.run import checkpoint
from tests import audits, shards
from tests.distributed.test_training import EPOCHS, killed, losses, training
from tests.processes import run

STEPS = 9  # of 8 clips each, from 50, 10 and 12 samples


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    shards.make(folder / "main", [20, 16, 14])
    shards.make(folder / "main", [7, 4], split="validation")
    shards.make(folder / "half", [9, 11], classes=shards.CLASSES[::-1])
    shards.make(folder / "twice", [6])
    return folder


@pytest.mark.world(2)
def test_a_run_on_several_sets_goes_on_after_a_kill_and_its_record_proves_it(
    root: Path, tmp_path: Path
) -> None:
    mix = f"data.mix={{{root}/half: 0.5, {root}/twice: 2}}"
    common = ("run.checkpoint_steps=4", "augment.operations=0", "augment.mixup=0", mix)
    whole, folder = tmp_path / "whole", tmp_path / "run"
    run(training(1, f"{root}/main", whole, *common))
    killed(
        training(2, f"{root}/main", folder, "data.workers=1", *common), folder, tmp_path / "log", at_step=7
    )
    resumed_at = checkpoint.load(str(folder))["position"]["done"]
    assert 0 < resumed_at < EPOCHS * STEPS
    said = run(training(1, f"{root}/main", folder, *common)).stdout
    assert f"resuming {folder} after {resumed_at} steps" in said
    assert len(losses(folder)) == EPOCHS * STEPS
    assert audits.keys_by_step(str(folder)) == audits.keys_by_step(str(whole))
    proven = run([sys.executable, "-m", "pipeline.audit", str(folder)]).stdout
    assert "proven: each of these samples was used as often as its set's weight says" in proven

"""Training on tars that others made, where they lie: films, killed and resumed, with the record that proves it."""

import sys
from pathlib import Path

import pytest

from pipeline.run import checkpoint
from tests import foreign
from tests.distributed.test_training import EPOCHS, STEPS, killed, losses, training
from tests.processes import run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Films as video2dataset packs them, and their index."""
    folder = tmp_path_factory.mktemp("films")
    for split, counts in (("train", [20, 16, 14]), ("validation", [7, 4])):
        foreign.video2dataset(folder / "tars" / split, counts)
        foreign.indexed([folder / "tars" / split], folder / "index" / split, label="txt")
    return str(folder / "index")


@pytest.mark.world(2)
def test_a_run_on_films_of_others_goes_on_after_a_kill_and_its_record_proves_it(
    root: str, tmp_path: Path
) -> None:
    """It is killed on two ranks with a loader process each, and goes on as one."""
    folder, common = tmp_path / "run", ("run.checkpoint_steps=4", "augment.operations=0")
    killed(training(2, root, folder, "data.workers=1", *common), folder, tmp_path / "log", at_step=5)
    resumed_at = checkpoint.load(str(folder))["position"]["done"]
    assert 0 < resumed_at < EPOCHS * STEPS
    said = run(training(1, root, folder, *common)).stdout
    assert f"resuming {folder} after {resumed_at} steps" in said
    assert len(losses(folder)) == EPOCHS * STEPS
    proven = run([sys.executable, "-m", "pipeline.audit", str(folder)]).stdout
    assert "proven: each of these samples was used once in its epoch" in proven

"""Training on shards of films that the caches of the nodes turn to JPEGs: the same run as on shards of JPEGs."""

import sys
from pathlib import Path

import pytest
import torch

from pipeline.run import checkpoint
from tests import audits
from tests.distributed.test_training import killed, losses, training, weights
from tests.films import built, settings
from tests.processes import run
from tests.unit.sharding.videos import write_set

EPOCHS, STEPS = 4, 4  # of 8 clips each, from 34 videos


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same videos as films and as JPEGs."""
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder, train=34, validation=4, test=0)
    built(folder, folder / "films", settings(samples_per_shard=8))
    built(folder, folder / "jpegs", settings("jpeg", samples_per_shard=8))
    return folder


@pytest.mark.world(2)
def test_a_run_on_turned_films_is_killed_and_ends_as_one_on_jpegs(sets: Path, tmp_path: Path) -> None:
    common = (f"optim.epochs={EPOCHS}", "run.checkpoint_steps=4", "data.workers=1")
    run(training(2, str(sets / "jpegs"), tmp_path / "jpegs", *common))
    folder, cache = tmp_path / "films", tmp_path / "cache"
    command = training(2, str(sets / "films"), folder, *common, "data.films=jpeg", f"data.cache={cache}")
    killed(command, folder, tmp_path / "log", at_step=5)
    resumed_at = checkpoint.load(str(folder))["position"]["done"]
    assert 0 < resumed_at < EPOCHS * STEPS
    assert f"resuming {folder} after {resumed_at} steps" in run(command).stdout
    assert len(losses(folder)) == EPOCHS * STEPS
    assert losses(folder) == losses(tmp_path / "jpegs")
    assert audits.keys_by_step(str(folder)) == audits.keys_by_step(str(tmp_path / "jpegs"))
    expected = weights(tmp_path / "jpegs")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items())
    assert any(path.read_bytes()[257:262] == b"ustar" for path in cache.glob("*.kept"))
    assert "\nproven: " in run([sys.executable, "-m", "pipeline.audit", str(folder)]).stdout

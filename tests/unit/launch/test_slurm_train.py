"""`blvnet-launch slurm train`: what it submits, what it finds before, and what it says after."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from launch import cli, slurm
from pipeline.run.owner import LEASE_S, Record
from tests import shards
from tests.unit.launch.stubs import EXPECTED, Queue, stub

PLAIN = ["slurm", "train", "--nodes", "2", "--config", "tiny.yaml"]


@pytest.fixture
def sharded(config: Path) -> Path:
    """A folder with `tiny.yaml` and its shards."""
    shards.make(config.parent / "shards", [20, 12])
    shards.make(config.parent / "shards", [4], split="validation")
    return config.parent


def test_commands_are_as_expected(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "setup.sh").write_text("module load cuda\n")
    words = "--nodes 4 --gpus 8 --partition gpu --account vision --qos high --mem 500G --time 24:00:00"
    words += (
        " --job-name f8x2 --log logs --sbatch --exclusive --sbatch=--comment=x --prologue setup.sh --print"
    )
    assert cli.main(["slurm", "train", "--config", "tiny.yaml", *words.split(), "run.folder=s3://b/r"]) == 0
    out = capsys.readouterr().out.replace(str(slurm.TRAIN), "train.sbatch")
    assert out.replace(str(config.parent), "HERE") == (EXPECTED / "train_commands.txt").read_text()


@pytest.mark.parametrize(
    ("options", "cores"),
    [([], 3), (["--gpus=8"], 24), (["--gpus=8", "data.workers=0"], 8), (["--gpus=8", "--cpus=96"], 96)],
)
def test_a_node_gets_the_cores_that_its_processes_and_loaders_keep_busy(
    options: list[str], cores: int, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*PLAIN, "--print", *options]) == 0
    assert f"    --cpus-per-task={cores} \\\n" in capsys.readouterr().out


def test_a_job_is_submitted_and_said(sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*PLAIN, "--gpus", "4", "--log", "logs"]) == 0
    assert queue.calls() == [
        [
            *(
                "--parsable",
                "--nodes=2",
                "--output=logs/%x-%j.log",
                "--gpus-per-node=4",
                "--cpus-per-task=12",
            ),
            *(str(slurm.TRAIN), "tiny.yaml"),
        ]
    ]
    assert (sharded / "logs").is_dir()
    out = capfd.readouterr().out.replace(str(slurm.TRAIN), "train.sbatch").replace(str(sharded), "HERE")
    assert out == (EXPECTED / "train_said.txt").read_text()
    assert not any((sharded / "run").iterdir())  # what tried it is gone


def test_of_several_clusters_the_number_alone_is_said(
    sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(queue.folder, "sbatch", "echo '17;east'")
    assert cli.main(PLAIN) == 0
    assert "\njob 17: 2 nodes, 3 cores each\n" in capfd.readouterr().out


def test_a_refused_submission_stops_with_its_status(
    sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(queue.folder, "sbatch", "echo 'invalid account' >&2; exit 3")
    assert cli.main(PLAIN) == 3
    out, err = capfd.readouterr()
    assert err == "invalid account\n"
    assert "job" not in out.partition("tiny.yaml")[2]


def owner(folder: Path, ago_s: float) -> None:
    """A run of another machine holds the run folder, and wrote there so many seconds ago."""
    record = Record("token", "", "far", 7, "elsewhere", "1", 3, time.time() - ago_s)
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "owner.json").write_text(json.dumps(asdict(record)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.root=nowhere"], "nowhere/train/manifest.json"),
        (["data.validation=test"], "there are train, validation: set data.validation=validation"),
        (["--gpus=3"], "8 clips cannot be shared equally by 6 ranks; the nearest that can: 6 or 12"),
        (["--gpus=8"], "8 clips cannot be shared equally by 16 ranks; the nearest that can: 16"),
        (["optim.global_batch=64"], "64 is more than the 32 samples"),
        (["augment.mixup=0.8", "--gpus=4"], "choose an optim.global_batch that 16 divides"),
        (["run.folder=/proc/run"], "/proc/run"),
    ],
)
def test_what_would_end_it_at_once_is_said_before_it_waits(
    words: list[str], message: str, sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*PLAIN, *words]) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not queue.calls()


def test_splits_that_do_not_belong_together_are_said(
    sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    shards.make(sharded / "shards", [4], split="validation", classes=["a", "b", "c"])
    assert cli.main(PLAIN) == 2
    assert "its classes are not those of" in capfd.readouterr().err
    assert not queue.calls()


def test_a_run_folder_in_use_is_said(sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]) -> None:
    owner(sharded, 4)
    assert cli.main(PLAIN) == 2
    assert "run: a run wrote here 4 s ago; stop it first" in capfd.readouterr().err
    assert not queue.calls()
    # It begins when that one has ended.
    assert cli.main([*PLAIN, "--sbatch", "--dependency=afterany:16"]) == 0


def test_a_run_that_is_long_silent_is_no_reason_to_wait(sharded: Path, queue: Queue) -> None:
    owner(sharded, LEASE_S + 1)
    assert cli.main(PLAIN) == 0
    assert len(queue.calls()) == 1


def test_where_the_shards_cannot_be_seen_they_are_not_looked_at(config: Path, queue: Queue) -> None:
    assert cli.main([*PLAIN, "--unchecked", "data.root=/scratch/on/the/nodes"]) == 0
    assert len(queue.calls()) == 1


def test_as_many_nodes_as_are_free(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*PLAIN, "--nodes", "2:4", "--print"]) == 0
    assert "--nodes=2-4" in capsys.readouterr().out.split(" \\\n    ")

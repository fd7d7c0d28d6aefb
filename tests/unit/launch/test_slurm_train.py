"""`blvnet-launch slurm train`: what it submits, what it finds before, and what it says after."""

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from launch import cli, slurm, slurm_options
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


def test_gpus_that_are_asked_for_in_another_way_count(
    sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*PLAIN, "--sbatch=--gres=gpu:h100:4,shard:2"]) == 0
    assert "--cpus-per-task=12" in queue.calls()[0]
    assert "\njob 17: 2 nodes, 4 GPUs and 12 cores each\n" in capfd.readouterr().out
    assert cli.main([*PLAIN, "--gpus=4", "--sbatch=--gpus-per-node=h100:3"]) == 2
    assert "8 clips cannot be shared equally by 6 ranks" in capfd.readouterr().err
    assert len(queue.calls()) == 1


@pytest.mark.parametrize(
    ("words", "log"),
    [
        (["--job-name=my run"], "HERE/my run-17.log"),
        (["--sbatch=-J my run"], "HERE/my run-17.log"),
        (["--sbatch", "--job-name", "--sbatch", "x", "--log=my logs"], "HERE/my logs/x-17.log"),
        (["--sbatch", "--output=out/%x.%j"], "out/blvnet-train.17"),
        (["--log", "100% logs"], "HERE/100% logs/blvnet-train-17.log"),
    ],
)
def test_the_log_is_where_it_is_said_to_be(
    words: list[str], log: str, sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*PLAIN, *words]) == 0
    out = capfd.readouterr().out.replace(str(sharded), "HERE")
    assert f"  log    {log}\n" in out
    look = next(line for line in out.splitlines() if line.startswith("  look"))
    assert shlex.split(look)[-1] == log


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--nodes=2", "--nodes=4"], {"nodes": "4"}),
        (["-N8"], {"nodes": "8"}),
        (["-N", "8", "--exclusive"], {"nodes": "8", "exclusive": ""}),
        (["--exclusive", "--comment=a=b"], {"exclusive": "", "comment": "a=b"}),
        (["-w", "n1", "-J", "x"], {"job-name": "x"}),
        ([], {}),
    ],
)
def test_options_of_sbatch_are_known_by_their_long_names(words: list[str], given: dict[str, str]) -> None:
    assert slurm_options.named(words) == given


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("30", 30),
        ("30:30", 30.5),
        ("24:00:00", 1440),
        ("1-0", 1440),
        ("1-1:30", 1530),
        ("2-0:0:30", 2880.5),
        ("0", None),
        ("UNLIMITED", None),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(limit: str, minutes: float | None) -> None:
    assert slurm_options.minutes(limit) == minutes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sbatch", "--nodes=8"], "--sbatch --nodes: give --nodes"),
        (["--sbatch=-N8"], "--sbatch --nodes: give --nodes"),
        (["--sbatch=-G8"], "--sbatch --gpus: give --gpus without --sbatch: the GPUs of each node"),
        (["--sbatch", "-t", "--sbatch", "3"], "--time 3: a training is told"),
        (["--sbatch", "--array=0-3"], "--sbatch --array: its tasks would be trainings in one run folder"),
        (["--time", "3"], "--time 3: a training is told to save 3 to 4 minutes before its limit"),
        (["--sbatch=--time=0:30"], "--time 0:30: a training is told"),
        (["--time", "1:2:3:4"], "--time 1:2:3:4: write minutes"),
        (["--nodes", "2-4"], "'2-4': write a number, as in 4, or the fewest and the most, as in 2:4"),
        (["--nodes", "2:"], "'2:': write a number"),
        (["--nodes", "0:2"], "must be at least 1"),
        (["--nodes", "1:100000000000000000000"], "by 3 or 5 or 6 or 7 or more ranks"),
        (["--gpus", "h100:8"], "--gpus: 'h100:8' is no whole number"),
        (["--log", "/proc/logs"], "--log /proc/logs: No such file or directory; name a folder"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: list[str], message: str, sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main([*PLAIN, *words])
    except SystemExit as end:  # argparse's
        status = int(str(end.code))
    assert status == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not queue.calls()


def test_a_short_limit_is_taken_with_a_signal_of_ones_own(sharded: Path, queue: Queue) -> None:
    assert cli.main([*PLAIN, "--time", "3", "--sbatch", "--signal=B:USR1@60"]) == 0
    assert len(queue.calls()) == 1


def test_processes_of_a_node_are_a_number(
    sharded: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROCESSES", "all")
    assert cli.main(PLAIN) == 2
    assert capfd.readouterr().err.startswith("error: PROCESSES=all: ")


def test_shards_that_the_network_does_not_take_are_said(
    sharded: Path, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*PLAIN, "model.in_channels=10"]) == 2
    assert "pictures in colour, and model.in_channels 10 is optical flow" in capfd.readouterr().err
    assert not queue.calls()


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

"""`blvnet-launch`: what it starts, and the mistakes that it finds before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import cli, local, slurm

EXPECTED = Path(__file__).parent / "expected"
CONFIG = "data: {root: shards}\nrun: {folder: run}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that took this process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, argv: commands.append([path, *argv[1:]]))
    return commands


def stub(folder: Path, name: str, text: str) -> None:
    """An outside program that does what `text` says in bash."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)


def test_local_becomes_torchrun_with_the_configuration(config: Path, started: list[list[str]]) -> None:
    cli.main(["local", "--nproc", "2", "--config", str(config), "optim.epochs=3", "data.workers=0"])
    expected = f"{sys.executable} -m pipeline.agent --standalone --nproc-per-node=2 "
    expected += f"-m pipeline.train --config {config} optim.epochs=3 data.workers=0"
    assert started == [expected.split()]


def test_local_takes_one_process_a_gpu(tmp_path: Path) -> None:
    assert local.default_processes(tmp_path) == "1"
    (tmp_path / "nvidiactl").touch()
    assert local.default_processes(tmp_path) == "1"
    (tmp_path / "nvidia0").touch()
    assert local.default_processes(tmp_path) == "gpu"


def test_launching_imports_no_torch(config: Path) -> None:
    program = (
        "import sys, os; os.execv = print\n"
        "from launch import cli\n"
        f"cli.main(['local', '--config', {str(config)!r}])\n"
        "assert not any(name.split('.')[0] in ('torch', 'torchvision') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["local", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["local", "--config", "CONFIG", "optim.epoch=3"], "unknown key optim.epoch"),
        (["slurm", "train", "--print", "--config", "CONFIG", "optim.epochs=none"], "optim.epochs"),
        (["slurm", "shard", "--print", "--tasks", "2"], "--out"),
        (["slurm", "shard", "--print", "--tasks", "2", "--", "--dataset", "sthv2"], "--out"),
        (["slurm", "shard", "--print", "--tasks", "2", "--", "--out", ""], "--out"),
    ],
)
def test_a_mistake_ends_in_one_line(
    command: list[str],
    message: str,
    config: Path,
    started: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([str(config) if word == "CONFIG" else word for word in command]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not out
    assert not started


def test_without_sbatch_nothing_is_submitted(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["slurm", "train", "--config", str(config)]) == 2
    assert "sbatch is not on this machine's PATH" in capsys.readouterr().err


def test_training_commands_are_as_expected(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--nodes 4 --gpus 8 --time 24:00:00 --sbatch=--account=vision --print run.folder=s3://b/r"
    assert cli.main(["slurm", "train", "--config", str(config), *words.split()]) == 0
    out = capsys.readouterr().out.replace(str(slurm.TRAIN), "train.sbatch").replace(str(config), "tiny.yaml")
    assert out == (EXPECTED / "train_commands.txt").read_text()


def test_sharding_commands_are_as_expected(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tasks", "64", "--cpus", "16", "--sbatch=--partition=cpu", "--print"]
    build = ["--dataset", "sthv2", "--annotations", "my labels", "--videos", "20bn", "--out", "s3://b/sthv2"]
    assert cli.main(["slurm", "shard", *words, "--", *build]) == 0
    out = capsys.readouterr().out.replace(str(slurm.SHARD), "shard.sbatch")
    assert out == (EXPECTED / "shard_commands.txt").read_text()


def test_finalize_gets_the_splits_and_the_limit_of_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    build = ["--split", "val", "--max-failures=5%", "--out", "s3://b/x", "--split=dev"]
    assert cli.main(["slurm", "shard", "--tasks", "2", "--print", "--", *build]) == 0
    words = capsys.readouterr().out.replace("\\\n", " ").split()
    assert words[words.index("finalize") :] == [
        "finalize",
        "s3://b/x",
        "--split",
        "val",
        "--split",
        "dev",
        "--max-failures",
        "5%",
    ]


def test_submitting_runs_the_printed_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(
        tmp_path / "bin", "sbatch", f'printf "%s|" "$@" >>{tmp_path}/calls; echo >>{tmp_path}/calls; echo 17'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert cli.main(["slurm", "shard", "--tasks", "3", "--", "--videos", "my videos", "--out", "shards"]) == 0
    array, last = (tmp_path / "calls").read_text().splitlines()
    assert (
        array
        == f"--parsable|--array=0-2|--cpus-per-task=1|{slurm.SHARD}|build|--videos|my videos|--out|shards|"
    )
    assert last == f"--dependency=afterok:17|--kill-on-invalid-dep=yes|{slurm.SHARD}|finalize|shards|"


def test_a_refused_submission_stops_with_its_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(tmp_path / "bin", "sbatch", f"echo called >>{tmp_path}/calls; echo 'invalid account' >&2; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert cli.main(["slurm", "shard", "--tasks", "3", "--", "--out", "shards"]) == 3
    assert "invalid account" in capfd.readouterr().err
    assert (tmp_path / "calls").read_text() == "called\n"

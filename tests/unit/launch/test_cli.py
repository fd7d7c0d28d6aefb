"""`blvnet-launch`: training on this machine, and the mistakes that it finds before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import cli, local
from tests.unit.launch.mistakes import assert_one_line


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that took this process's place."""
    commands: list[list[str]] = []

    def become(path: str, argv: list[str]) -> None:
        commands.append([path, *argv[1:]])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", become)
    return commands


def test_local_becomes_torchrun_with_the_configuration(config: Path, started: list[list[str]]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["local", "--nproc", "2", "--config", str(config), "optim.epochs=3", "data.workers=0"])
    expected = f"{sys.executable} -m pipeline.agent --standalone --nproc-per-node=2 "
    expected += f"-m pipeline.train --config {config} optim.epochs=3 data.workers=0"
    assert started == [expected.split()]


def test_changes_may_stand_between_the_options(config: Path, started: list[list[str]]) -> None:
    with pytest.raises(SystemExit):
        cli.main(
            [
                "local",
                "optim.epochs=3",
                "--config",
                str(config),
                "data.workers=0",
                "--nproc",
                "2",
                "run.seed=5",
            ]
        )
    assert started[0][-3:] == ["optim.epochs=3", "data.workers=0", "run.seed=5"]


def test_local_takes_one_process_a_gpu(tmp_path: Path) -> None:
    assert local.default_processes(tmp_path) == "1"
    (tmp_path / "nvidiactl").touch()
    assert local.default_processes(tmp_path) == "1"
    (tmp_path / "nvidia0").touch()
    assert local.default_processes(tmp_path) == "gpu"


def test_launching_imports_no_torch(config: Path) -> None:
    program = (
        "import sys, os; os.execv = lambda *words: sys.exit(\n"
        "    any(name.split('.')[0] in ('torch', 'torchvision') for name in sys.modules))\n"
        "from launch import cli\n"
        f"cli.main(['local', '--config', {str(config)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


HELP = ["", "local", "torchrun", "preflight", "kubernetes train", "slurm train", "slurm shard", "slurm tasks"]


@pytest.mark.parametrize("command", HELP)
def test_help_loads_nothing_heavy(command: str) -> None:
    program = (
        "import sys; from launch.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'torch', 'pydantic', 'yaml', 'tqdm'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", program, *command.split(), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n"), done.stdout


MISTAKES = [
    (["local", "--config", "nowhere.yaml"], "nowhere.yaml"),
    (["local", "--config", "CONFIG", "optim.epoch=3"], "unknown key optim.epoch"),
    (["local", "--config", "CONFIG", "--gpus", "3"], "unrecognized arguments: --gpus"),
    (["local", "--config", "CONFIG", "--nproc", "all"], "--nproc: 'all' is no whole number"),
    (["slurm", "train", "--print", "--config", "CONFIG", "optim.epochs=none"], "optim.epochs"),
    (
        ["slurm", "train", "--print", "--config", "CONFIG", "--prologue", "nowhere.sh"],
        "nowhere.sh: no such file",
    ),
    (["slurm", "train", "--print", "--config", "CONFIG", "--nodes", "0"], "--nodes: must be at least 1"),
    (["slurm", "shard", "--print", "--tasks", "2"], "--out"),
    (["slurm", "shard", "--print", "--tasks", "2", "--", "--dataset", "sthv2"], "--out"),
    (["slurm", "shard", "--print", "--tasks", "2", "--dataset", "sthv2", "--out", "x"], "--videos"),
    (["slurm", "shard", "--print", "--tasks", "2", "BUILD", "--out", ""], "--out"),
    (
        ["slurm", "shard", "--print", "--tasks", "2", "BUILD", "--out", "x", "--task-count", "2"],
        "--task-count",
    ),
    (["slurm", "shard", "--print", "--tasks", "2", "BUILD", "--out", "x", "--nothing"], "--nothing"),
    (
        ["slurm", "shard", "--print", "--tasks", "2", "BUILD", "--out", "x", "--sbatch=--output=y"],
        "--log DIR",
    ),
]
BUILD = ["--dataset", "csv", "--annotations", "a.csv", "--videos", "v"]


@pytest.mark.parametrize(("command", "message"), MISTAKES)
def test_a_mistake_ends_in_one_line(
    command: list[str],
    message: str,
    config: Path,
    started: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        part for word in command for part in ({"CONFIG": [str(config)], "BUILD": BUILD}.get(word, [word]))
    ]
    assert_one_line(words, message, capsys)
    assert not started


def test_a_prologue_that_bash_cannot_read_is_a_mistake(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "setup.sh").write_text("if module load cuda\n")
    assert cli.main(["slurm", "train", "--print", "--config", str(config), "--prologue", "setup.sh"]) == 2
    assert capsys.readouterr().err.startswith("error: --prologue setup.sh: line 2: ")


def test_a_prologue_of_windows_is_a_mistake(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "my setup.sh").write_bytes(b"export NCCL_SOCKET_IFNAME=ib0\r\n")
    words = ["slurm", "train", "--print", "--config", str(config), "--prologue", "my setup.sh"]
    assert_one_line(words, "--prologue my setup.sh: its lines end as on Windows", capsys)


def test_without_sbatch_nothing_is_submitted(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["slurm", "train", "--config", str(config)]) == 2
    assert "sbatch is not on this machine's PATH" in capsys.readouterr().err

"""How a run that cannot go on ends: one line, and the right exit status."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import agent
from sharding.errors import UserError
from tests import shards
from tests.distributed.test_training import losses, training
from tests.processes import ROOT, descendants, environment, started, wait_until


def with_agent(command: list[str]) -> list[str]:
    return ["pipeline.agent" if word == "torch.distributed.run" else word for word in command]


@pytest.mark.world(2)
def test_a_mistake_that_all_processes_meet_is_told_once(tmp_path: Path) -> None:
    command = with_agent(training(2, "/nowhere", tmp_path / "run"))
    kept = tmp_path / "temporary"
    kept.mkdir()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment({"TMPDIR": str(kept)}),
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: /nowhere/train/manifest.json: no such manifest")
    assert done.stderr.count("\n") == 1
    assert {path.name.partition("_")[0] for path in kept.iterdir()} <= {"torchinductor"}  # torch's own cache


@pytest.mark.world(2)
def test_a_killed_rank_ends_the_run_and_is_named(tmp_path: Path) -> None:
    shards.make(tmp_path, [20])
    shards.make(tmp_path, [4], split="validation")
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(with_agent(training(2, str(tmp_path), folder, "optim.epochs=500")), log) as process:
        wait_until(lambda: len(losses(folder)) >= 2, 120, process, log)
        ranks = [pid for pid in descendants(process.pid) if b"pipeline.train" in cmdline(pid)]
        os.kill(ranks[1], signal.SIGKILL)
        assert process.wait(timeout=60) == 128 + signal.SIGKILL
        assert f"(process {ranks[1]}) ended by SIGKILL; the others were stopped" in log.read_text()
        assert not [pid for pid in descendants(process.pid) if pid in ranks]


@pytest.mark.world(2)
def test_a_rank_that_hangs_ends_the_run_and_its_stack_is_in_the_log(tmp_path: Path) -> None:
    shards.make(tmp_path, [20])
    shards.make(tmp_path, [4], split="validation")
    folder, log = tmp_path / "run", tmp_path / "log"
    command = with_agent(training(2, str(tmp_path), folder, "optim.epochs=500", "run.timeout_s=40"))
    command[command.index("pipeline.train")] = "tests.distributed.hanging_train"
    with started(command, log) as process:
        wait_until(lambda: len(losses(folder)) == 2, 120, process, log)
        assert process.wait(timeout=40 + 60) == 1
    assert "_hangs_in_its_third_step" in log.read_text()
    assert len(losses(folder)) == 2


@pytest.mark.parametrize(
    ("nodes", "processes", "told"),
    [
        ("1", "all", "--nproc-per-node=all: Unsupported nproc_per_node value: all; give a number"),
        ("1", "0", "--nproc-per-node=0: give a number of processes, at least 1"),
        ("3:2", "1", "--nnodes=3:2: write the number of hosts, or the fewest and the most, as in 2:4"),
        ("0", "1", "--nnodes=0: write the number of hosts"),
        ("two", "1", "--nnodes=two: write the number of hosts"),
        ("1:2:3", "1", "--nnodes=1:2:3: write the number of hosts"),
    ],
)
def test_a_size_that_is_none_is_said(nodes: str, processes: str, told: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(told)}"):
        agent._sizes(nodes, processes)


def test_a_launcher_that_is_told_to_use_gpus_where_there_are_none_says_so_in_one_line() -> None:
    words = [sys.executable, "-m", "pipeline.agent", "--nproc-per-node=gpu", "-m", "pipeline.train"]
    done = subprocess.run(words, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: --nproc-per-node=gpu: Cuda is not available; give a number of processes\n"


def cmdline(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")

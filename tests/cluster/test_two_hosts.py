"""Training over two hosts with a network of their own between them, and through a cut of it."""

import sys
import time
from pathlib import Path

import pytest

from launch import cli
from pipeline.run import journal
from tests import audits, commands, shards
from tests.cluster.hosts import HOSTS, network_of, usable
from tests.conftest import need
from tests.processes import started, wait_until

pytestmark = pytest.mark.cluster

EPOCHS, STEPS = 2, 8  # of 4 clips each, from 32 samples


def reported_steps(folder: Path) -> int:
    return len([line for line in journal.read(str(folder / "metrics.jsonl")) if line["kind"] == "train"])


def launched(
    first: str, second: str, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> list[list[str]]:
    """The command of each host, as `blvnet-launch torchrun` prints them."""
    words = [
        "torchrun",
        "--hosts",
        f"{first},{second}",
        "--nproc",
        "1",
        "--config",
        "configs/demo.yaml",
        *settings,
    ]
    assert cli.main(words) == 0
    found = commands.commands(capsys.readouterr().out)
    return [[sys.executable, *command[1:]] for command in found]


def test_two_hosts_meet_again_after_a_cut_network_and_finish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    shards.make(tmp_path / "shards", [20, 12])
    shards.make(tmp_path / "shards", [4], split="validation")
    run = tmp_path / "run"
    settings = [f"data.root={tmp_path}/shards", "data.size=32", "data.short_side=32", "data.workers=0"]
    settings += [f"run.folder={run}", "run.log_steps=1", "run.checkpoint_steps=2", "run.audit=true"]
    settings += ["run.precision=fp32", "run.timeout_s=8", "model.num_frames=4"]
    settings += ["optim.global_batch=4", f"optim.epochs={EPOCHS}"]
    first, second = HOSTS[:2]
    printed = launched(first, second, settings, capsys)
    logs = {host: tmp_path / f"{host}.log" for host in (first, second)}
    with (
        network_of([first, second], tmp_path) as network,
        started(network.command(first, printed[0]), logs[first]) as one,
        started(network.command(second, printed[1]), logs[second]) as two,
    ):
        wait_until(lambda: reported_steps(run) >= 5, 120, one, logs[first])
        network.cable(second, "down")
        time.sleep(12)  # longer than the processes wait for each other
        network.cable(second, "up")
        assert one.wait(timeout=150) == 0, logs[first].read_text()
        assert two.wait(timeout=30) == 0, logs[second].read_text()

    output = "".join(log.read_text() for log in logs.values())
    assert f"resuming {run} after " in output
    assert reported_steps(run) == EPOCHS * STEPS
    used = audits.keys_by_step(str(run))
    assert list(used) == list(range(1, EPOCHS * STEPS + 1))
    for epoch in range(EPOCHS):
        keys = [key for step in range(epoch * STEPS, (epoch + 1) * STEPS) for key in used[step + 1]]
        assert sorted(keys) == sorted(f"clip-{i}" for i in range(32))

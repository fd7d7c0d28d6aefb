"""Training whose hosts are lost, cut off and come back: it goes on with those that are there, in the same order."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.agents import Agents, agents_on
from tests.cluster.hosts import HOSTS, usable
from tests.conftest import need
from tests.processes import environment, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

SETTINGS = ["optim.global_batch=6", "optim.epochs=5000", "run.checkpoint_steps=20"]
PATIENCE_S = 300


def steps_after(agents: Agents, host: str, step: int) -> int:
    """Wait for a step after `step`; returns the newest."""
    wait_until(
        lambda: max(agents.losses(), default=0) > step, PATIENCE_S, agents.processes[host], agents.log(host)
    )
    return max(agents.losses())


def hosts_of_starts(agents: Agents, host: str, starts: list[int]) -> None:
    """Wait until the last start of the training is on the last number of `starts` hosts; all of them are these."""

    def found() -> list[int]:
        text = agents.says()
        return [
            2 if "2 hosts" in line else 3 if "3 hosts" in line else 1
            for line in text.splitlines()
            if line.startswith("  ranks ")
        ]

    wait_until(
        lambda: found()[-1:] == starts[-1:] and len(found()) >= len(starts),
        PATIENCE_S,
        agents.processes[host],
        agents.log(host),
    )


def stop(agents: Agents) -> None:
    """Ctrl-C on the first host ends all with a checkpoint."""
    first = HOSTS[0]
    agents.signal(first, signal.SIGINT)
    for process in agents.processes.values():
        assert process.wait(timeout=PATIENCE_S) == 75, agents.says()


def assert_proven(agents: Agents) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.audit", str(agents.run)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "proven" in done.stdout, done.stdout + done.stderr
    losses = agents.losses()
    assert list(losses) == list(range(1, len(losses) + 1))


def test_a_lost_host_shrinks_the_run_and_its_return_grows_it(tmp_path: Path) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    first, second = HOSTS[:2]
    with agents_on([first, second], tmp_path, "--min-hosts 1", *SETTINGS) as agents:
        agents.start(first)
        agents.start(second)
        at = steps_after(agents, first, 25)
        agents.lose(second)
        hosts_of_starts(agents, first, [2, 1])
        at = steps_after(agents, first, at)
        agents.start(second)
        hosts_of_starts(agents, first, [2, 1, 2])
        at = steps_after(agents, first, at)
        stop(agents)
        assert "a host has come: all write a checkpoint and start again" in agents.says()
        assert_proven(agents)


def test_a_host_that_is_cut_off_is_missed_and_comes_back_by_itself(tmp_path: Path) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    first, second = HOSTS[:2]
    with agents_on([first, second], tmp_path, "--min-hosts 1", *SETTINGS) as agents:
        agents.start(first)
        agents.start(second)
        at = steps_after(agents, first, 5)
        agents.network.cable(second, "down")  # nothing is said, nothing refused: as when the power is gone
        hosts_of_starts(agents, first, [2, 1])
        assert f"{second} is gone: the others start again from the newest checkpoint" in agents.says()
        at = steps_after(agents, first, at)
        agents.network.cable(second, "up")
        hosts_of_starts(agents, first, [2, 1, 2])
        at = steps_after(agents, first, at)
        stop(agents)
        assert_proven(agents)


def test_a_batch_that_not_every_number_of_hosts_can_share_is_said_before_and_at_the_start(
    tmp_path: Path,
) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    first, second = HOSTS[:2]
    with agents_on([first, second], tmp_path, "--min-hosts 1", *SETTINGS) as agents:
        for host in (first, second):
            agents.commands[host].append("optim.global_batch=5")
            agents.start(host)
        for host in (first, second):
            assert agents.processes[host].wait(timeout=PATIENCE_S) == 2, agents.says()
        errors = [line for line in agents.says().splitlines() if line.startswith("error: ")]
        assert errors == [
            "error: optim.global_batch: 5 clips cannot be shared equally by 2 ranks, which the run may come to have as "
            "hosts come and go; choose a multiple of 2"
        ]

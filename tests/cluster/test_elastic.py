"""Training whose hosts are lost, cut off and come back: it goes on with those that are there, in the same order."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.agents import Agents, agents_on, hurried
from tests.cluster.hosts import HOSTS, usable
from tests.conftest import need
from tests.processes import environment, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

SETTINGS = ["optim.global_batch=6", "optim.epochs=5000", "run.checkpoint_steps=20"]
PATIENCE_S = 300
WAITS = r"waiting for \d+ s: {} is not there yet(, where all hosts meet \(port 29400\))?"


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


def test_hosts_begin_without_one_that_comes_later_is_lost_and_returns(tmp_path: Path) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    first, second, third = HOSTS
    with agents_on(HOSTS, tmp_path, "--min-hosts 2", *SETTINGS) as agents:
        agents.start(first)
        agents.start(second)
        at = steps_after(agents, first, 5)
        assert f"2 of at most 3 hosts begin: {first}, {second}\n" in agents.says()
        agents.start(third)
        hosts_of_starts(agents, first, [2, 3])
        assert "a host has come: all write a checkpoint and start again" in agents.says()
        at = steps_after(agents, first, at + 20)
        agents.lose(third)
        hosts_of_starts(agents, first, [2, 3, 2])
        at = steps_after(agents, first, at)
        agents.start(third)
        hosts_of_starts(agents, first, [2, 3, 2, 3])
        steps_after(agents, first, at)
        stop(agents)
        assert_proven(agents)


def test_a_lost_host_leaves_the_other_alone_and_its_return_grows_the_run(tmp_path: Path) -> None:
    """Once it is killed, once it is cut off and comes back by itself."""
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
        missed = f"{second} is gone: the others start again from the newest checkpoint"
        before = agents.says().count(missed)
        agents.network.cable(second, "down")  # nothing is said, nothing refused: as when the power is gone
        hosts_of_starts(agents, first, [2, 1, 2, 1])
        assert agents.says().count(missed) == before + 1
        at = steps_after(agents, first, at)
        agents.network.cable(second, "up")
        hosts_of_starts(agents, first, [2, 1, 2, 1, 2])
        steps_after(agents, first, at)
        stop(agents)
        assert_proven(agents)


@pytest.mark.parametrize("absent", [0, 2], ids=["the first", "another"])
def test_hosts_say_whom_they_wait_for_and_end_after_ten_minutes(absent: int, tmp_path: Path) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    missing = HOSTS[absent]
    present = [host for host in HOSTS if host != missing]
    with agents_on(HOSTS, tmp_path, "", *SETTINGS) as agents:
        for host in present:
            agents.start(host, hurried(tmp_path, 30))
        for host in present:
            assert agents.processes[host].wait(timeout=PATIENCE_S) == 69, agents.says()
        errors = []
        for host in present:
            *waited, last = agents.log(host).read_text().splitlines()
            assert waited and re.fullmatch(WAITS.format(missing), waited[-1]), agents.says()
            assert int(waited[0].split()[2]) < 90, agents.says()
            errors.append(last)
        assert all(error.startswith(f"error: {missing}") and "is not there" in error for error in errors), (
            errors
        )
        assert any(" within 600 s; start the commands of all hosts again" in error for error in errors)


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

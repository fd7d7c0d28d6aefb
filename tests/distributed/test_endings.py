"""How runs end that are told to stop, killed or mistaken at any moment: no process left, the right status, one line."""

import os
import pty
import random
import signal
import time
from pathlib import Path

import pytest

from pipeline.ranks.signals import INTERRUPTED, STATUS
from pipeline.run import checkpoint
from tests import shards
from tests.distributed.test_agent import with_agent
from tests.distributed.test_training import losses, training
from tests.jobs import Job, started
from tests.processes import catches, wait_for, wait_until
from tests.stores import free_ports


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shards")
    shards.make(folder, [10, 9])
    shards.make(folder, [8], split="validation")
    return str(folder)


def command(root: str, folder: Path, *overrides: str) -> list[str]:
    return with_agent(training(2, root, folder, "optim.epochs=500", *overrides))


def assert_stopped(job: Job, folder: Path) -> None:
    """With status 75, nobody left, no traceback, and every step that was done in the checkpoint."""
    assert job.process.wait(timeout=90) == STATUS, job.says()
    wait_for(lambda: not job.left())
    assert "Traceback" not in job.says()
    steps = len(losses(folder))
    if steps:
        assert checkpoint.load(str(folder))["position"]["done"] == steps
    assert not (folder / "owner.json").exists()


@pytest.mark.world(2)
def test_ranks_and_their_loaders_end_with_a_launcher_that_is_killed(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder), log) as job:
        wait_until(lambda: losses(folder), 120, job.process, log)
        assert len(job.ranks) == 2 and len(job.left()) >= 5
        job.process.kill()
        job.process.wait()
        wait_for(lambda: not job.left(), 10)
        # the folder is free at once: its owner is known to be dead
    with started(command(root, folder), log) as job:
        done = len(losses(folder))
        wait_until(lambda: len(losses(folder)) > done, 120, job.process, log)
        assert "waiting up to" not in job.says()


@pytest.mark.world(2)
@pytest.mark.parametrize("seconds", [0.0, 0.3, 3.0])
def test_ranks_end_with_a_launcher_that_is_killed_while_they_begin(
    root: str, tmp_path: Path, seconds: float
) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder), log) as job:
        wait_until(lambda: len(job.ranks) == 2, 120, job.process, log)
        time.sleep(seconds)
        job.process.kill()
        job.process.wait()
        wait_for(lambda: not job.left(), 20)


@pytest.mark.world(2)
def test_ctrl_c_stops_a_run_as_told(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder), log) as job:
        wait_until(lambda: losses(folder), 120, job.process, log)
        os.killpg(
            job.process.pid, signal.SIGINT
        )  # as a terminal does: to the launcher, the ranks and their loaders
        assert_stopped(job, folder)
    assert job.says().count("stopped after") == 1


@pytest.mark.world(2)
def test_a_second_ctrl_c_ends_it_at_once(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    words = command(root, folder)
    words[words.index("pipeline.train")] = "tests.distributed.hanging_train"
    with started(words, log) as job:
        wait_until(lambda: len(losses(folder)) == 2, 120, job.process, log)
        os.killpg(job.process.pid, signal.SIGINT)
        time.sleep(3)
        assert job.process.poll() is None  # waits for a rank that hangs
        os.killpg(job.process.pid, signal.SIGINT)
        assert job.process.wait(timeout=10) == INTERRUPTED, job.says()
        wait_for(lambda: not job.left(), 10)
    assert "Traceback" not in job.says()


@pytest.mark.world(2)
def test_a_run_whose_terminal_is_closed_saves_and_ends(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    ours, theirs = pty.openpty()
    with started(command(root, folder), log, terminal=theirs) as job:
        os.close(theirs)
        wait_until(lambda: losses(folder), 120, job.process, log)
        os.close(ours)  # SIGHUP to the session; what is printed from now on fails
        assert_stopped(job, folder)


@pytest.mark.world(2)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_starting_is_obeyed(root: str, tmp_path: Path, number: signal.Signals) -> None:
    moments = random.Random(number)
    for i, seconds in enumerate((0.0, moments.uniform(0.2, 12.0))):
        folder, log = tmp_path / f"run-{i}", tmp_path / f"log-{i}"
        with started(command(root, folder), log) as job:
            wait_for(lambda job=job: catches(job.process.pid, signal.SIGUSR1))  # type: ignore[misc]
            time.sleep(seconds)
            os.kill(job.process.pid, number)
            assert_stopped(job, folder)
        assert "nothing to save" in job.says() or "stopped after" in job.says()


@pytest.mark.world(2)
def test_one_rank_that_is_told_while_starting_stops_all(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder), log) as job:
        wait_until(lambda: len(job.ranks) == 2, 120, job.process, log)
        rank = job.ranks[1]
        wait_until(lambda: catches(rank, signal.SIGUSR1), 60, job.process, log)
        os.kill(rank, signal.SIGUSR1)
        assert_stopped(job, folder)


@pytest.mark.world(2)
def test_a_second_run_in_a_living_folder_is_refused_and_the_first_goes_on(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder), log) as first:
        wait_until(lambda: losses(folder), 120, first.process, log)
        with started(command(root, folder), tmp_path / "second") as second:
            assert second.process.wait(timeout=120) == 2
            *_, line = second.says().splitlines()
            assert line.startswith(f"error: {folder}: a run of host ") and "s ago; stop it first" in line
            assert "Traceback" not in second.says()
        done = len(losses(folder))
        wait_until(lambda: len(losses(folder)) > done, 60, first.process, log)


@pytest.mark.world(2)
@pytest.mark.timeout(600)
def test_a_frozen_run_is_succeeded_and_ends_before_it_writes_when_it_comes_back(
    root: str, tmp_path: Path
) -> None:
    """In real time: the lease is a minute."""
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder, "run.checkpoint_steps=1"), log) as first:
        wait_until(lambda: losses(folder), 120, first.process, log)
        frozen = first.left()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        with started(command(root, folder), tmp_path / "second") as second:
            done = len(losses(folder))
            wait_until(lambda: len(losses(folder)) > done, 240, second.process, tmp_path / "second")
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
            assert first.process.wait(timeout=90) == 2, first.says()
            assert first.says().count("has taken this run's folder over; this one ends without writing") == 1
            os.kill(second.process.pid, signal.SIGTERM)
            assert_stopped(second, folder)
    steps = list(losses(folder))
    assert steps == sorted(set(steps))


@pytest.mark.world(2)
def test_a_mistake_is_not_started_again(root: str, tmp_path: Path) -> None:
    for mistake, line in (
        (["optim.rate=1"], "unknown key optim.rate"),
        (["data.root=/nowhere"], "/nowhere/train/manifest.json: no such manifest"),
        (["optim.global_batch=7"], "7 clips cannot be shared equally by 2 ranks"),
    ):
        words = command(root, tmp_path / "run", *mistake)
        words.insert(words.index("--standalone"), "--max-restarts=3")
        with started(words, tmp_path / "log") as job:
            assert job.process.wait(timeout=120) == 2, job.says()
            wait_for(lambda: not job.left())
        assert job.says().startswith("error: ") and line in job.says()
        assert job.says().count("\n") == 1, job.says()


@pytest.mark.world(2)
@pytest.mark.parametrize("restarts", [0, 3])
def test_a_mistake_ends_the_launchers_of_all_hosts_in_one_line(
    root: str, tmp_path: Path, restarts: int
) -> None:
    """A sample that one rank alone finds damaged, in the middle of training."""
    damaged = tmp_path / "shards"
    made = shards.make(damaged, [40])
    shards.make(damaged, [8], split="validation")
    tar = Path(made.shard_url(0))
    content = bytearray(tar.read_bytes())
    content[len(content) // 2] ^= 1
    tar.write_bytes(content)
    words = command(str(damaged), tmp_path / "run")
    where = words.index("--standalone")
    words[where : where + 2] = [
        *("--nnodes=2", "--nproc-per-node=1", f"--max-restarts={restarts}"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_ports(1)[0]}", "--rdzv-id=test"),
    ]
    with started(words, tmp_path / "one") as one, started(words, tmp_path / "two") as two:
        said = ""
        for job in (one, two):
            assert job.process.wait(timeout=180) == 2, one.says() + two.says()
            wait_for(lambda job=job: not job.left())  # type: ignore[misc]
            # less the steps, and the lines with which a run introduces itself
            lines = job.says().splitlines(keepends=True)
            said += "".join(line for line in lines if not line.startswith(("step ", "  ")))
    assert said.count("\n") == 1, said
    assert said.startswith(f"error: {tar}: sample ")

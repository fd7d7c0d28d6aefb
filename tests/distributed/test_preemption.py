"""Runs that are told to stop, or killed, at any moment: nothing is lost, and the end is the uninterrupted run's.

The environment variable BLVNET_ROUNDS says how often (default: 2, which keeps the suite short).
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipeline.ranks.signals import STATUS
from pipeline.run import checkpoint, journal, proof
from tests import shards
from tests.distributed.test_agent import cmdline, with_agent
from tests.distributed.test_training import losses, training, weights
from tests.processes import alive, descendants, kill_tree, run, started, wait_until
from tests.stores import free_ports

ROUNDS = int(os.environ.get("BLVNET_ROUNDS", "2"))
STEPS_IN_EPOCH = 2
LIMIT_S = 240 + 60 * ROUNDS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shards")
    shards.make(folder, [10, 9])
    shards.make(folder, [40], split="validation")
    return str(folder)


def command(root: str, folder: Path, epochs: int, *overrides: str) -> list[str]:
    """Two ranks; a checkpoint after every epoch, and after every second one an evaluation of five batches."""
    return with_agent(
        training(2, root, folder, f"optim.epochs={epochs}", "run.evaluate_epochs=2", *overrides)
    )


@pytest.fixture(scope="module")
def uninterrupted(root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(command(root, folder, 4 * ROUNDS), seconds=LIMIT_S)
    return folder


@contextmanager
def started_until(
    moments: random.Random, whole: list[str], folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that goes on in `folder`, at a random moment after its first step."""
    before = len(losses(folder))
    with started(whole, log) as process:
        wait_until(lambda: len(losses(folder)) > before, 120, process, log)
        time.sleep(moments.uniform(0, 0.5))
        yield process


def validations(folder: Path) -> list[int]:
    lines = journal.read(str(folder / "metrics.jsonl"))
    return [line["step"] for line in lines if line["kind"] == "validation"]


def assert_same_end(folder: Path, uninterrupted: Path) -> None:
    assert losses(folder) == losses(uninterrupted)
    assert validations(folder) == validations(uninterrupted)
    assert proof.prove(str(folder)).findings == []
    expected = weights(uninterrupted)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items())


@pytest.mark.world(2)
@pytest.mark.timeout(3 * LIMIT_S)
def test_kills_at_random_moments_change_no_bit_of_the_result(
    root: str, uninterrupted: Path, tmp_path: Path
) -> None:
    folder, log, moments = tmp_path / "run", tmp_path / "log", random.Random(1)
    whole = command(root, folder, 4 * ROUNDS, "run.checkpoint_steps=1")
    for _ in range(ROUNDS):
        with started_until(moments, whole, folder, log) as process:
            kill_tree(process)
    run(whole, seconds=LIMIT_S)
    assert_same_end(folder, uninterrupted)


@pytest.mark.world(2)
@pytest.mark.timeout(3 * LIMIT_S)
def test_a_run_told_to_stop_at_random_moments_loses_no_step(
    root: str, uninterrupted: Path, tmp_path: Path
) -> None:
    folder, log, moments = tmp_path / "run", tmp_path / "log", random.Random(2)
    whole = command(root, folder, 4 * ROUNDS)
    for number in range(ROUNDS):
        before = len(losses(folder))
        with started_until(moments, whole, folder, log) as process:
            if number % 2:  # to one rank alone, or to torchrun, which passes it on
                ranks = [pid for pid in descendants(process.pid) if b"pipeline.train" in cmdline(pid)]
                os.kill(ranks[number // 2 % 2], signal.SIGUSR1)
            else:
                process.terminate()
            assert process.wait(timeout=60) == STATUS, log.read_text()
        assert "stopped " in log.read_text()
        state = checkpoint.load(str(folder))
        assert state["position"]["done"] == len(losses(folder)) >= before
    run(whole, seconds=LIMIT_S)
    assert_same_end(folder, uninterrupted)


@pytest.mark.world(2)
def test_an_evaluation_that_was_cut_off_is_done_first_after_the_resume(root: str, tmp_path: Path) -> None:
    shards.make(tmp_path / "slow", [STEPS_IN_EPOCH * 8])
    shards.make(tmp_path / "slow", [400], split="validation")
    folder, log = tmp_path / "run", tmp_path / "log"
    whole = command(str(tmp_path / "slow"), folder, 2, "run.evaluate_epochs=1")
    with started(whole, log) as process:
        wait_until(lambda: len(losses(folder)) == STEPS_IN_EPOCH, 120, process, log)
        process.terminate()
        assert process.wait(timeout=60) == STATUS, log.read_text()
    assert checkpoint.load(str(folder))["to_evaluate"]
    assert validations(folder) == []
    run(whole)
    assert validations(folder) == [STEPS_IN_EPOCH, 2 * STEPS_IN_EPOCH]
    assert not checkpoint.load(str(folder))["to_evaluate"]


@pytest.mark.world(2)
@pytest.mark.timeout(3 * LIMIT_S)
def test_torchrun_starts_a_failed_run_again_from_its_newest_checkpoint(
    root: str, uninterrupted: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    whole = command(root, folder, 4 * ROUNDS)
    whole.insert(whole.index("--standalone"), "--max-restarts=1")
    with started(whole, log) as process:
        wait_until(lambda: len(losses(folder)) > STEPS_IN_EPOCH, 120, process, log)
        ranks = [pid for pid in descendants(process.pid) if b"pipeline.train" in cmdline(pid)]
        os.kill(ranks[1], signal.SIGKILL)
        assert process.wait(timeout=LIMIT_S) == 0, log.read_text()
    assert f"resuming {folder} after" in log.read_text()
    assert_same_end(folder, uninterrupted)


@pytest.mark.world(2)
def test_sigusr1_to_the_launcher_is_passed_on(root: str, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with started(command(root, folder, 500), log) as process:
        wait_until(lambda: losses(folder), 120, process, log)
        ranks = [pid for pid in descendants(process.pid) if b"pipeline.train" in cmdline(pid)]
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=60) == STATUS, log.read_text()
        assert not [pid for pid in ranks if alive(pid)]
    assert checkpoint.load(str(folder))["position"]["done"] == len(losses(folder))


@pytest.mark.world(2)
@pytest.mark.parametrize("told", ["launcher", "rank 1"])
def test_a_run_with_restarts_ends_when_it_is_told_to_stop(root: str, tmp_path: Path, told: str) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    whole = command(root, folder, 500)
    whole.insert(whole.index("--standalone"), "--max-restarts=3")
    with started(whole, log) as process:
        wait_until(lambda: losses(folder), 120, process, log)
        ranks = [pid for pid in descendants(process.pid) if b"pipeline.train" in cmdline(pid)]
        os.kill(process.pid if told == "launcher" else ranks[1], signal.SIGTERM)
        assert process.wait(timeout=60) == STATUS, log.read_text()
        assert not [pid for pid in ranks if alive(pid)]
    assert "resuming" not in log.read_text()
    assert checkpoint.load(str(folder))["position"]["done"] == len(losses(folder))


@pytest.mark.world(2)
def test_a_rank_that_is_told_to_stop_stops_the_launchers_of_all_hosts(root: str, tmp_path: Path) -> None:
    folder, logs = tmp_path / "run", [tmp_path / "log-0", tmp_path / "log-1"]
    whole = command(root, folder, 500)
    where = whole.index("--standalone")
    whole[where : where + 2] = [
        *("--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_ports(1)[0]}", "--rdzv-id=test"),
    ]
    with started(whole, logs[0]) as one, started(whole, logs[1]) as two:
        wait_until(lambda: losses(folder), 120, one, logs[0])
        (rank,) = [pid for pid in descendants(two.pid) if b"pipeline.train" in cmdline(pid)]
        os.kill(rank, signal.SIGTERM)
        for process, log in zip((one, two), logs, strict=True):
            assert process.wait(timeout=60) == STATUS, log.read_text()
    assert checkpoint.load(str(folder))["position"]["done"] == len(losses(folder))

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.workers import pool
from sharding.workers.pool import Lost, Report
from tests import processes


def square(task: int, report: Report) -> int:
    report(f"step {task}")
    return task * task


def accident(task: str, report: Report) -> str:
    """Does what the task says."""
    report(task)
    if task == "spin":
        while True:
            pass
    if task == "user error":
        raise UserError("the disk is full")
    if task == "bug":
        raise ZeroDivisionError("a bug")
    if task.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[task])
    if task == "exit":
        os._exit(7)
    return task.upper()


def run(
    work: pool.Work, tasks: list[str], limit: float | None = None
) -> tuple[dict[str, str], list[Lost[str]]]:
    """Lost tasks are replaced by "again"."""
    results: dict[str, str] = {}
    losses: list[Lost[str]] = []

    def on_lost(lost: Lost[str]) -> str:
        losses.append(lost)
        return "again"

    pool.run(work, tasks, 2, lambda task, step: None, results.__setitem__, on_lost, limit)
    return results, losses


def children() -> set[int]:
    return {pid for pid, fields in processes.every() if int(fields[1]) == os.getpid() and fields[0] != "Z"}


def test_every_task_is_done_once_and_no_worker_is_left() -> None:
    before = children()
    results: dict[int, int] = {}
    steps: list[tuple[int, str | None]] = []
    pool.run(
        square,
        range(7),
        3,
        lambda task, step: steps.append((task, step)),
        results.__setitem__,
        lambda lost: pytest.fail(str(lost)),
    )
    assert results == {i: i * i for i in range(7)}
    assert sorted(steps) == [(i, f"step {i}") for i in range(7)]
    # multiprocessing's resource tracker may have been started; it ends with this process
    assert len(children() - before) <= 1


def test_nothing_to_do_starts_nothing() -> None:
    assert run(accident, []) == ({}, [])


@pytest.mark.parametrize("task", ["SIGSEGV", "SIGKILL", "exit"])
def test_a_lost_worker_is_told_with_its_task_and_step(task: str) -> None:
    results, losses = run(accident, ["a", task, "b"])
    assert results == {"a": "A", "b": "B", "again": "AGAIN"}
    (lost,) = losses
    assert (lost.task, lost.step) == (task, task)
    assert (lost.signal, lost.exitcode) == ((None, 7) if task == "exit" else (task, -signal.Signals[task]))


def test_a_step_over_the_limit_is_ended() -> None:
    begin = time.monotonic()
    results, losses = run(accident, ["spin", "a"], limit=3.0)
    assert results == {"a": "A", "again": "AGAIN"}
    assert [(lost.task, lost.exitcode, lost.signal) for lost in losses] == [("spin", None, None)]
    assert time.monotonic() - begin < 250


@pytest.mark.parametrize(
    ("task", "error", "says"),
    [("user error", UserError, "the disk is full"), ("bug", RuntimeError, "ZeroDivisionError")],
)
def test_an_error_in_a_worker_ends_the_run(task: str, error: type[Exception], says: str) -> None:
    before = children()
    with pytest.raises(error, match=says):
        run(accident, [task, "spin"])
    assert len(children() - before) <= 1


def test_workers_do_not_outlive_a_killed_driver(tmp_path: Path) -> None:
    program = (
        "from tests.unit.sharding.workers import test_pool\n"
        "if __name__ == '__main__':\n"
        "    test_pool.run(test_pool.accident, ['spin', 'spin'])\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(program)
    root = Path(__file__).parents[4]
    driver = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)})
    try:
        workers = wait_for(lambda: spinning(driver.pid), 2)
    finally:
        driver.kill()
        driver.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def spinning(parent: int) -> set[int]:
    """The children of `parent` that have used half a second of processor time."""
    least = os.sysconf("SC_CLK_TCK") / 2
    return {pid for pid, fields in processes.every() if int(fields[1]) == parent and int(fields[11]) > least}


def wait_for(look, count: int) -> set[int]:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: set[int] = look()
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError("the workers did not start")

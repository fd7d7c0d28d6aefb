"""Programs that tests start: torchrun jobs, and the end of everything that they started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def torchrun(ranks: int, module: str, *args: str) -> list[str]:
    """The command line of `module` on `ranks` processes of this machine."""
    options = ["--standalone", f"--nproc-per-node={ranks}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", module, *args]


def run(
    command: list[str], env: dict[str, str] | None = None, seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run to the end, within `seconds`; a failure shows the output."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment(env), capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, and `more`; the CPU alone, one thread a process: results are the same anywhere."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **(more or {})}


@contextmanager
def started(
    command: list[str], log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A running program whose output goes to `log`; it and all its descendants are killed at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(env), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            kill_tree(process)


def wait_until(
    condition: Callable[[], object], seconds: float, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Wait for `condition` while `process` runs; what it printed is shown if it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended early:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"not within {seconds} s:\n{log.read_text()}"
        time.sleep(0.02)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for `condition` of this process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL `process` and its descendants at once, and wait until they are gone."""
    pids = [process.pid, *descendants(process.pid)]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.02)


def every() -> Iterator[tuple[int, list[str]]]:
    """Each process, and the fields of its `/proc/PID/stat` from its state on: the second is its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue


def descendants(pid: int) -> list[int]:
    """The processes that `pid` and its children started."""
    children: dict[int, list[int]] = {}
    for child, fields in every():
        children.setdefault(int(fields[1]), []).append(child)
    found, rest = [], [pid]
    while rest:
        below = children.get(rest.pop(), [])
        found += below
        rest += below
    return found


def tagged(tag: str) -> list[int]:
    """The processes with `tag` in their environment: what a program has started, whoever their parents are now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if tag.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return found


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether `pid` has a handler for a signal by now: before its first line it has none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def alive(pid: int) -> bool:
    """Whether `pid` runs; one that has ended and is not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"

"""Runs a command on nodes of SLURM's allocation, or on this machine where there is none, for a limited time."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sharding.errors import UserError

_LAST_WORDS_S = 5.0


@dataclass(frozen=True)
class Line:
    """A line of output, and when it came: seconds since 1970."""

    text: str
    at: float


@dataclass(frozen=True)
class Step:
    """How a command ended on all of its nodes: its status, and what was said."""

    status: int
    lines: list[Line]


Run = Callable[[Sequence[tuple[Sequence[str], Sequence[str]]], float], list[Step]]
"""Commands, each with the nodes that it runs on, at once, and the seconds after which they are ended.

Each begins with `python`, which is this program's own wherever that can be told.
"""


def allocation() -> list[str]:
    """The nodes of the job that this process belongs to; this machine by the name "" outside of SLURM.

    `UserError` where SLURM's commands are not here, as in a container of the job.
    """
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if not listed:
        return [""]
    for program in ("scontrol", "srun"):
        if not shutil.which(program):
            raise UserError(
                f"{program} is not on this machine's PATH, though this is job {os.environ.get('SLURM_JOB_ID')} of "
                "SLURM: start this outside of the container, or unset SLURM_JOB_NODELIST to look at this node alone"
            )
    done = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"SLURM_JOB_NODELIST={listed}: {done.stderr.strip()}")
    return done.stdout.split()


class Started:
    """A command that is under way; what it says is read from now on, so that each line has its time."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            words,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._lines: list[Line] = []
        # In a thread of its own: a silent command ends at the deadline.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self, deadline: float) -> Step:
        """Wait for it until `deadline`, of the monotonic clock, and end it then."""
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        self.stop()
        self._reader.join(_LAST_WORDS_S)
        if not self._reader.is_alive():  # else a program of its own session has kept the pipe
            assert process.stdout is not None
            process.stdout.close()
        return Step(process.returncode, self.said())

    def said(self) -> list[Line]:
        """What it has said by now."""
        return list(self._lines)

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(Line(text.rstrip("\n"), time.time()) for text in self._process.stdout)


def run(commands: Sequence[tuple[Sequence[str], Sequence[str]]], limit_s: float) -> list[Step]:
    """`Run` by srun; without nodes ("") as a child of this process."""
    environment = {**os.environ, "SRUN_CPUS_PER_TASK": os.environ.get("SLURM_CPUS_PER_TASK", "1")}
    deadline = time.monotonic() + limit_s
    with all_ended() as started:
        for nodes, words in commands:
            started.append(Started(_step(nodes, words), environment))
        return [step.end(deadline) for step in started]


@contextlib.contextmanager
def all_ended() -> Iterator[list[Started]]:
    """A list, of which nothing is left running behind the block: not after Ctrl-C, of which they do not hear."""
    started: list[Started] = []
    try:
        yield started
    finally:
        for one in started:
            one.stop()


def _step(nodes: Sequence[str], words: Sequence[str]) -> list[str]:
    if list(nodes) == [""]:
        return [sys.executable, *words[1:]]
    count = len(nodes)
    return [
        *("srun", "--overlap", "--kill-on-bad-exit=0", f"--nodes={count}", f"--ntasks={count}"),
        *("--ntasks-per-node=1", f"--nodelist={','.join(nodes)}", *words),
    ]

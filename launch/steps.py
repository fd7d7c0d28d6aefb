"""Runs a command on nodes of SLURM's allocation, or on this machine where there is none, for a limited time."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
"""Commands, each with the nodes that it runs on, at once, and the seconds after which they are ended."""


def allocation() -> list[str]:
    """The nodes of the job that this process belongs to; this machine by the name "" outside of SLURM."""
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if not listed:
        return [""]
    done = subprocess.run(
        ["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


class Started:
    """A command that is under way; what it says is read from now on, so that each line has its time."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._lines: list[Line] = []
        # In a thread of its own: a silent command ends at the deadline.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self, deadline: float) -> Step:
        """Wait for it until `deadline`, of the monotonic clock, and end it then."""
        process = self._process
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._reader.join(_LAST_WORDS_S)
        if not self._reader.is_alive():  # else a program of its own session has kept the pipe
            assert process.stdout is not None
            process.stdout.close()
        return Step(process.returncode, list(self._lines))

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(Line(text.rstrip("\n"), time.time()) for text in self._process.stdout)


def run(commands: Sequence[tuple[Sequence[str], Sequence[str]]], limit_s: float) -> list[Step]:
    """`Run` by srun; without nodes ("") as a child of this process."""
    environment = {**os.environ, "SRUN_CPUS_PER_TASK": os.environ.get("SLURM_CPUS_PER_TASK", "1")}
    deadline = time.monotonic() + limit_s
    started = [Started(_step(nodes, words), environment) for nodes, words in commands]
    return [step.end(deadline) for step in started]


def _step(nodes: Sequence[str], words: Sequence[str]) -> list[str]:
    if list(nodes) == [""]:
        return list(words)
    count = len(nodes)
    return [
        *("srun", "--overlap", "--kill-on-bad-exit=0", f"--nodes={count}", f"--ntasks={count}"),
        *("--ntasks-per-node=1", f"--nodelist={','.join(nodes)}", *words),
    ]

"""Launchers as a terminal or a scheduler starts them, and all that they have started, whoever its parents are now."""

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, alive, environment, tagged


class Job:
    """A launcher in a session of its own, as a terminal starts it, and all that it has started."""

    def __init__(self, words: list[str], log: Path, terminal: int | None = None) -> None:
        self.tag, self.log = uuid.uuid4().hex, log
        with log.open("wb") as output:
            out = output if terminal is None else terminal
            self.process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=environment({"BLVNET_TEST_TAG": self.tag}),
                stdin=terminal,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=None if terminal is None else _take_terminal,
            )

    @property
    def ranks(self) -> list[int]:
        return [pid for pid in self.left() if _is_rank(pid)]

    def left(self) -> list[int]:
        """All of the job's processes that still run."""
        return [pid for pid in tagged(self.tag) if alive(pid)]

    def says(self) -> str:
        return self.log.read_text()


def _is_rank(pid: int) -> bool:
    """Whether it trains. A launcher's child has the launcher's words, and handlers, until it runs its own program."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    # As a word of its own: fork servers name it too.
    return b"pipeline.train" in words and not {b"pipeline.agent", b"torch.distributed.run"} & set(words)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def started(words: list[str], log: Path, terminal: int | None = None) -> Iterator[Job]:
    job = Job(words, log, terminal)
    try:
        yield job
    finally:
        for pid in job.left():
            os.kill(pid, signal.SIGKILL)
        job.process.wait()

"""Worker processes, each on one task at a time, that may be killed, crash or hang without taking the others along.

`concurrent.futures` gives up all workers when one dies and cannot say what it was at; a broken video must not
cost more than itself.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from sharding.errors import UserError
from sharding.workers import main_guard

Task = TypeVar("Task")
Result = TypeVar("Result")
Report = Callable[[str | None], None]
"""A worker's word on what it is at now: the name of a step that is under the time limit, or None."""

Work = Callable[[Any, Report], Any]
"""Does one task in a worker; a function of a module. Its `UserError` ends the whole run."""

_POLL_S = 0.5
_GRACE_S = 5.0


@dataclass(frozen=True)
class Lost(Generic[Task]):
    """A worker that ended, or was ended, in the middle of a task, and the step it was at.

    `exitcode` is negative for a signal, as in `multiprocessing`; None means that the step was over the time limit.
    """

    task: Task
    step: str | None
    exitcode: int | None

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended the worker."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        return signal.Signals(-self.exitcode).name


def run(
    work: Work,
    tasks: Iterable[Task],
    workers: int,
    on_step: Callable[[Task, str | None], None],
    on_result: Callable[[Task, Result], None],
    on_lost: Callable[[Lost[Task]], Task],
    step_limit_s: float | None = None,
) -> None:
    """Do every task with `work` in `workers` processes. The callbacks run here, in the calling process.

    `on_lost` says what to do in place of the lost task, or raises to end the run. When the run ends, for
    whatever reason, no worker is left.
    """
    pending = deque(tasks)
    crew: list[_Worker] = []
    clean = False
    try:
        while pending or any(w.busy for w in crew):
            for worker in crew:
                if pending and not worker.busy:
                    worker.give(pending.popleft())
            while pending and len(crew) < workers:
                crew.append(_Worker(work))
                crew[-1].give(pending.popleft())
            for worker in _ready(crew):
                kind, content = worker.receive()
                if kind == "step":
                    worker.at(content)
                    on_step(worker.task, content)
                elif kind == "result":
                    task, worker.busy = worker.task, False
                    on_result(task, content)
                elif kind == "user error":
                    raise UserError(content)
                elif kind == "bug":
                    raise RuntimeError(f"a worker failed:\n{content}")
                else:
                    crew.remove(worker)
                    status = worker.exitcode()
                    main_guard.check(status)
                    pending.appendleft(on_lost(Lost(worker.task, worker.step, status)))
            for worker in [w for w in crew if w.overdue(step_limit_s)]:
                crew.remove(worker)
                worker.kill()
                pending.appendleft(on_lost(Lost(worker.task, worker.step, None)))
        clean = True
    finally:
        _dismiss(crew, clean)


class _Worker:
    """The driver's end of one worker process."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with main_guard.starting():
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.task: Any = None
        self.busy = False
        self.step: str | None = None
        self.since = 0.0

    def give(self, task: Any) -> None:
        self.task, self.busy, self.step = task, True, None
        with contextlib.suppress(OSError):  # it died meanwhile: the next receive() says so
            self.connection.send(task)

    def receive(self) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            return "lost", None
        return message

    def at(self, step: str | None) -> None:
        self.step, self.since = step, time.monotonic()

    def overdue(self, limit_s: float | None) -> bool:
        late = limit_s is not None and time.monotonic() - self.since > limit_s
        return self.busy and self.step is not None and late

    def exitcode(self) -> int:
        self.process.join()
        self.connection.close()
        return self.process.exitcode or 0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _ready(crew: list[_Worker]) -> Iterator[_Worker]:
    by_connection = {w.connection: w for w in crew}
    for connection in wait(list(by_connection), timeout=_POLL_S):
        assert isinstance(connection, Connection)
        yield by_connection[connection]


def _dismiss(crew: list[_Worker], clean: bool) -> None:
    """End the workers: by closing their pipes, else by SIGTERM, which lets them clear away what is half done."""
    for worker in crew:
        worker.connection.close()
        if not clean:
            worker.process.terminate()
    deadline = time.monotonic() + _GRACE_S
    for worker in crew:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.exitcode is None:
            worker.kill()


def _serve(connection: Connection, work: Work) -> None:
    """The worker: take tasks until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver too, which ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_driver, daemon=True).start()

    def report(step: str | None) -> None:
        connection.send(("step", step))

    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task = connection.recv()
            try:
                message = ("result", work(task, report))
            except UserError as error:
                message = ("user error", str(error))
            except BrokenPipeError:
                raise
            except Exception:
                message = ("bug", traceback.format_exc())
            connection.send(message)


def _end_with_driver() -> None:
    """A driver that is killed takes its workers along, whatever they are at."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    os._exit(1)

"""Loader processes, seen from training: they take jobs, and are there as long as one of them is open.

An evaluation during training is one more job of the processes that are there.
"""

import atexit
import itertools
import pickle
import selectors
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from sys import stderr
from typing import Any, NoReturn

import torch
from torch import Tensor

from pipeline.handover.ring import Ring
from pipeline.handover.server import server
from pipeline.handover.shared import PREFETCHED_STEPS, SLOTS
from pipeline.handover.worker import Close, Crashed, Hello, Job, Make, Open, serve
from sharding.errors import UserError
from sharding.workers import main_guard

_crews: dict[int, "Crew"] = {}
"""The loader processes of this process, by how many there are to a crew."""
_numbers = itertools.count()


def begin(job: Job, workers: int, modules: Sequence[str], pin: bool = False) -> "Work":
    """Begin `job` in `workers` processes, which have imported `modules`: those that are there, or new ones.

    One thread of a program takes the steps of all jobs.
    """
    ring = Ring(SLOTS, pin)
    try:
        if workers not in _crews:
            _crews[workers] = Crew(workers, modules)
        return Work(_crews[workers], job, ring)
    except BaseException:
        ring.close()
        raise


def check() -> None:
    """Raise `UserError` where a loader process has died, whichever job it was at."""
    for crew in _crews.values():
        crew.check()


class Crew:
    """`workers` processes. They do not answer to signals: stopping is the training process's decision alone."""

    def __init__(self, workers: int, modules: Sequence[str]) -> None:
        self.workers = workers
        self.open: dict[int, Work] = {}
        self._processes: list[ForkServerProcess] = []
        self._ends: list[Connection] = []
        self._selector = selectors.DefaultSelector()
        context, preloaded = server(modules)
        try:
            for worker in range(workers):
                ours, theirs = context.Pipe()
                with theirs:
                    args = (theirs, worker, workers, preloaded)
                    process = context.Process(target=serve, args=args, daemon=True)
                    process.start()
                self._processes.append(process)
                self._ends.append(ours)
                self._selector.register(ours, selectors.EVENT_READ, worker)
        except BaseException as error:
            self.kill()
            if not isinstance(error, EOFError | OSError):
                raise
            raise UserError(
                f"no loader process can be started ({error or type(error).__name__}); what their server printed "
                "says why"
            ) from None

    def send(self, message: Open | Make | Close, file: int | None = None) -> None:
        """Tell every process; `file` goes along."""
        content = pickle.dumps(message)
        for worker, end in enumerate(self._ends):
            try:
                end.send_bytes(content)
                if file is not None:
                    reduction.send_handle(end, file, self._processes[worker].pid)
            except OSError:
                self._died(worker)

    def listen(self) -> None:
        """Wait until a process says something, and put it where it belongs."""
        for key, _ in self._selector.select():
            worker = key.data
            try:
                message = pickle.loads(self._ends[worker].recv_bytes())
            except (EOFError, OSError):
                self._died(worker)
            if isinstance(message, Hello):
                if message.missing and worker == 0:
                    print(
                        f"warning: each loader process imports {', '.join(message.missing)} for itself, which "
                        "their server should have: they start slowly and take more memory",
                        file=stderr,
                        flush=True,
                    )
                continue
            number, part = message
            if number in self.open:  # else it was dropped meanwhile
                self.open[number].arrived[worker].append(part)

    def check(self) -> None:
        """Raise `UserError` where one of the processes has died."""
        for worker, process in enumerate(self._processes):
            if process.exitcode is not None:
                self._died(worker)

    def _died(self, worker: int) -> NoReturn:
        process = self._processes[worker]
        process.join(timeout=5)  # the end of its connection shows before its exit status does
        main_guard.check(process.exitcode)
        raise UserError(
            f"loader process {process.pid} ended with status {process.exitcode}: killed, perhaps for lack of "
            "memory; all of a run together hold some data.window samples"
        )

    def leave(self, number: int) -> None:
        """A job is over; with the last one the processes are."""
        del self.open[number]
        if not self.open:
            self.kill()
            return
        with suppress(UserError):  # a process that has died: the next step of another job tells
            self.send(Close(number))

    def kill(self) -> None:
        """End the processes. They would end by themselves, but for one that waits for a silent store."""
        _crews.pop(self.workers, None)
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join(timeout=5)  # whoever looks behind this finds none of them
        for end in self._ends:
            end.close()
        self._selector.close()


class Work:
    """A job that a crew is at: its steps, in order, some of them ahead of time."""

    def __init__(self, crew: Crew, job: Job, ring: Ring) -> None:
        self._crew, self._number, self._ring = crew, next(_numbers), ring
        self._asked: deque[int] = deque()
        self.arrived: list[deque[Any]] = [deque() for _ in range(crew.workers)]
        crew.open[self._number] = self
        try:
            crew.send(Open(self._number, pickle.dumps(job), ring.slots), ring.file.fileno())
        except BaseException:
            crew.leave(self._number)
            raise

    def step(self, ahead: int) -> Iterator[tuple[int, Any]]:
        """The processes' parts of the next step, each as soon as it is there: (process, part).

        `ahead`: how many steps there are after it.
        """
        while len(self._asked) <= min(ahead, PREFETCHED_STEPS) and (slot := self._ring.free()) is not None:
            self._make(slot)
        if not self._asked:  # whoever asks holds all that there are
            self._make(self._ring.more())
        waited_for = set(range(self._crew.workers))
        while True:
            for worker in [worker for worker in waited_for if self.arrived[worker]]:
                waited_for.remove(worker)
                part = self.arrived[worker].popleft()
                if isinstance(part, Crashed):
                    raise RuntimeError(f"a loader process failed:\n{part.trace}")
                yield worker, part
            if not waited_for:
                break
            self._crew.listen()

    def memory(self, count: int) -> Tensor:
        """What was written in the step that is whole by now, uint8 (count,); it stays while somebody holds it."""
        slot = self._asked.popleft()
        if count:
            return self._ring.handed_out(slot, count)
        self._ring.let_go(slot)
        return torch.empty(0, dtype=torch.uint8)

    def _make(self, slot: int) -> None:
        self._asked.append(slot)
        self._crew.send(Make(self._number, slot))

    def close(self) -> None:
        """Drop the job; its processes go on with others, or end."""
        self._crew.leave(self._number)
        self._ring.close()


@atexit.register
def _kill_all() -> None:
    """At the end of a program that failed between two batches. multiprocessing would ask the workers to end, which
    they do not hear, and wait (test_loader.py: test_a_failure_between_two_batches_ends_the_program)."""
    for crew in list(_crews.values()):
        crew.kill()

"""What a loader process does: jobs, each a step at a time, in the order in which it is asked for steps.

A job that waits to be asked costs nothing, so training's stays open during an evaluation.
"""

import os
import pickle
import queue
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.handover.ring import Slots
from pipeline.handover.server import missing


class Job(Protocol):
    """What to hand over, step by step; a pickled copy goes to each process."""

    def __call__(self, worker: int, workers: int, memory: Callable[[int], Tensor]) -> Iterator[Any]:
        """Process number `worker`'s part of each step: what is said of it, small and pickled.

        The rest goes to `memory(count)`, uint8 (count,), which all processes of a step share: each asks for as many
        bytes, and writes to its own places.
        """
        ...


@dataclass(frozen=True)
class Open:
    """Begin a job, in a ring of `slots` slots. Its file follows."""

    number: int
    job: bytes
    slots: int


@dataclass(frozen=True)
class Make:
    """Make the next step of a job, in a slot."""

    number: int
    slot: int


@dataclass(frozen=True)
class Close:
    """Drop a job, and what was asked of it."""

    number: int


@dataclass(frozen=True)
class Ended:
    """In place of a part: the job has no more steps."""


@dataclass(frozen=True)
class Crashed:
    """In place of a part: the job has failed, in a way that it has no words for."""

    trace: str


@dataclass(frozen=True)
class Hello:
    """A process's first word: what its server should have imported and had not."""

    missing: list[str]


def serve(connection: Connection, worker: int, workers: int, modules: list[str]) -> None:
    """Do what comes through `connection` until its other end is gone."""
    torch.set_num_threads(1)
    commands: queue.SimpleQueue[tuple[Open | Make | Close, int]] = queue.SimpleQueue()
    closed: set[int] = set()
    # Whoever sends is never kept waiting, nor is the end of the training process missed, whatever this one is at.
    threading.Thread(target=_receive, args=(connection, commands, closed), daemon=True).start()
    jobs: dict[int, _Begun] = {}
    _send(connection, Hello(missing(modules)))
    while True:
        command, file = commands.get()
        match command:
            case Open(number):
                jobs[number] = _Begun(command, file, worker, workers)
            case Make(number, slot):
                if number not in closed:
                    _send(connection, (number, jobs[number].next(slot)))
            case Close(number):
                jobs.pop(number).close()


def _receive(
    connection: Connection, commands: queue.SimpleQueue[tuple[Open | Make | Close, int]], closed: set[int]
) -> None:
    try:
        while True:
            command = connection.recv()
            file = reduction.recv_handle(connection) if isinstance(command, Open) else -1
            if isinstance(command, Close):
                closed.add(command.number)
            commands.put((command, file))
    except (EOFError, OSError):
        os._exit(1)  # the training process is gone (test_loader.py: test_workers_end_with_the_process_...)


def _send(connection: Connection, message: object) -> None:
    try:
        connection.send_bytes(pickle.dumps(message))
    except OSError:
        os._exit(1)


class _Begun:
    """A job that this process has begun."""

    def __init__(self, opened: Open, file: int, worker: int, workers: int) -> None:
        self._slots, self._slot = Slots(file, opened.slots), 0
        self._steps = self._begin(opened.job, worker, workers)

    def _begin(self, job: bytes, worker: int, workers: int) -> Generator[Any, None, None]:
        make: Job = pickle.loads(job)
        yield from make(worker, workers, lambda count: self._slots.memory(self._slot, count))

    def next(self, slot: int) -> Any:
        """What there is to say of the next step, which is made in `slot`."""
        self._slot = slot
        try:
            return next(self._steps, Ended())
        except BaseException:
            return Crashed(traceback.format_exc())

    def close(self) -> None:
        self._steps.close()
        self._slots.close()

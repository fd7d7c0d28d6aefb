"""The process that loader processes are made of: it imports once what each of them needs."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from types import FunctionType, ModuleType

from pipeline.ranks import signals
from sharding.workers import main_guard

_LAST = "pipeline.handover.inherited"
_preloaded: list[str] = []
"""What the server was told to import when it started."""


def server(modules: Sequence[str]) -> tuple[ForkServerContext, list[str]]:
    """A context whose processes have `modules`, and what they have: the first call of a program decides for all.

    A server, and no fork of this process, whose threads (the process group's, CUDA's) would be lost half-way.
    """
    context = multiprocessing.get_context("forkserver")
    if not _preloaded:
        _preloaded.extend(dict.fromkeys([*modules, *_of_main()]))
    context.set_forkserver_preload([*_preloaded, _LAST])
    # The server inherits the blocked signals, and its workers inherit them from it, from their first moment on.
    resource_tracker.ensure_running()  # the server's, which would unblock two of them when it starts
    with main_guard.starting(), _blocked(set(signals.STOP)):  # the training process alone answers
        forkserver.ensure_running()
    return context, _preloaded


def missing(modules: Sequence[str]) -> list[str]:
    """Which of `modules` this process did not get from the server, which keeps silent about what it cannot import."""
    inherited = sys.modules.get(_LAST)
    return [name for name in modules if inherited is None or name not in inherited.MODULES]


def _of_main() -> list[str]:
    """What the program's own file imports: multiprocessing runs that file once more in every process."""
    found = set()
    for value in vars(sys.modules["__main__"]).values():
        if isinstance(value, ModuleType):
            found.add(value.__name__)
        elif isinstance(value, type | FunctionType):
            found.add(value.__module__)
    return sorted(name for name in found - {"__main__"} if name in sys.modules)


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

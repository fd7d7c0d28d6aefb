"""The process that loader processes are made of: it imports once what each of them needs."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

from pipeline.handover import imported
from pipeline.ranks import signals

_preloaded: list[str] = []
"""What the server was told to import when it started."""


def server(modules: Sequence[str]) -> tuple[ForkServerContext, list[str]]:
    """A context whose processes have `modules`, and what they have: the first call of a program decides for all.

    A server, and no fork of this process, whose threads (the process group's, CUDA's) would be lost half-way.
    """
    context = multiprocessing.get_context("forkserver")
    if not _preloaded:
        _preloaded.extend(dict.fromkeys([*modules, *_main_module()]))
    context.set_forkserver_preload([*_preloaded, imported.__name__])
    # The server inherits the blocked signals, and its workers inherit them from it, from their first moment on.
    resource_tracker.ensure_running()  # the server's, which would unblock two of them when it starts
    with _blocked(set(signals.STOP)):  # the training process alone answers
        forkserver.ensure_running()
    return context, _preloaded


def _main_module() -> list[str]:
    """The program that runs, if it was started as a module: every process imports it once more, by another name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [spec.name] if spec is not None and not spec.name.endswith("__main__") else []


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

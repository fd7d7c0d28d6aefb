"""Loader processes and whole batches: one `Batch` a step for a rank, decoded ahead of time."""

import atexit
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess

import torch
from torch.utils.data import DataLoader

from pipeline.data.batch import Batch, Failure, Seconds
from pipeline.data.shared import PREFETCHED_STEPS
from pipeline.data.stream import ClipStream, empty_clips
from pipeline.ranks import signals
from sharding.errors import UnreachableError, UserError

_workers: set[BaseProcess] = set()
"""The loader processes of this process, whichever stream they belong to."""


def batches(stream: ClipStream, workers: int, pin: bool = False) -> Generator[Batch, None, None]:
    """The batches of `stream`, decoded by `workers` processes (0: in this one), in pinned memory for `pin`.

    Raises the stream's `UserError`, or one that names a loader process that died: of this stream, or of another one
    that waits meanwhile, as the training's does during validation. It never ends before the stream's last step.
    """
    done, steps = 0, stream.passes.all_steps(stream.manifest.samples)
    others = multiprocessing.active_children()
    made = iter(_data_loader(stream, workers))
    started = {child for child in multiprocessing.active_children() if child not in others}
    _workers.update(started)
    try:
        while parts := [_sound(part) for part in islice(made, max(workers, 1))]:
            _check_workers()
            yield _assembled(parts, max(workers, 1), pin)
            done += 1
        if done < steps:
            raise UserError(
                f"{stream.manifest.root}: the loader ended after {done} of {steps} batches; a loader process lost the "
                "next one, and what it printed says why"
            )
    except (RuntimeError, ConnectionError, EOFError):
        # What a worker's death looks like depends on what it was doing, and shows here before its exit status does.
        multiprocessing.connection.wait([worker.sentinel for worker in started], timeout=1)
        _check_workers()
        raise
    finally:
        # The workers that listen end by themselves; one that waits for a silent store would keep this process.
        _workers.difference_update(started)
        del made
        for worker in started:
            worker.kill()


@atexit.register
def _kill_workers() -> None:
    """At the end of a program that failed between two batches. multiprocessing would ask the workers to end, which
    they do not hear, and wait (test_loader.py: test_a_failure_between_two_batches_ends_the_program)."""
    for worker in _workers:
        worker.kill()


def _check_workers() -> None:
    for worker in _workers:
        if worker.exitcode:
            raise UserError(
                f"loader process {worker.pid} ended with status {worker.exitcode}: killed, perhaps for lack of "
                "memory; all of a run together hold some data.window samples"
            )


def _sound(part: Batch | Failure) -> Batch:
    if isinstance(part, Failure):
        raise (UnreachableError if part.unreachable else UserError)(part.reason)
    return part


def _data_loader(stream: ClipStream, workers: int) -> DataLoader[Batch | Failure]:
    if not workers:
        return DataLoader(stream, batch_size=None)
    # A server process imports torch once and forks each worker: no fork of this process, whose threads (the
    # process group's, CUDA's) would be lost half-way.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.data.stream"])
    # The server inherits the blocked signals, and its workers inherit them from it, from their first moment on.
    resource_tracker.ensure_running()  # the server's, which would unblock two of them when it starts
    with _blocked(set(signals.STOP)):  # the training process alone answers
        forkserver.ensure_running()
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCHED_STEPS,
        multiprocessing_context=context,
        worker_init_fn=_follow_parent,
    )


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent(worker: int) -> None:
    """Stopping is the training process's decision alone: its signals are not ours, and its death is.

    That the training process is gone shows in its sentinel alone, since the parent, the fork server, lives on as long
    as a worker does (test_loader.py: test_workers_end_with_the_process_that_started_them).
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _assembled(parts: list[Batch], workers: int, pin: bool) -> Batch:
    """The workers' parts of one step as one, in order of the samples' numbers."""
    steps = {(part.epoch, part.step) for part in parts}
    if len(parts) != workers or len(steps) != 1:
        raise UserError(
            f"a part of step {min(steps)} (epoch, step) is missing: a loader process lost it, and what it printed "
            "says why"
        )
    if len(parts) == 1 and not pin:
        return parts[0]
    items = sorted((number, p, i) for p, part in enumerate(parts) for i, number in enumerate(part.numbers))
    clips = empty_clips(len(items), parts[items[0][1]].clips.shape[1:], pin) if items else torch.empty(0)
    for slot, (_, p, i) in enumerate(items):
        clips[slot].copy_(parts[p].clips[i])
    return Batch(
        parts[0].epoch,
        parts[0].step,
        [number for number, _, _ in items],
        [parts[p].keys[i] for _, p, i in items],
        torch.tensor([int(parts[p].labels[i]) for _, p, i in items], dtype=torch.int64),
        clips,
        [key for part in parts for key in part.replaced],
        seconds=functools.reduce(Seconds.plus, (part.seconds for part in parts)),
    )

"""Batches on their way to the device, and changed there, while it still trains on the one before."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch

from pipeline.data.batch import Batch


def on_device(
    batches: Iterator[Batch], device: torch.device, change: Callable[[Batch], Batch] = lambda batch: batch
) -> Iterator[Batch]:
    """`batches` with clips and labels on `device`, changed by `change`; on the CPU they are there already.

    The host is a step ahead of a GPU, so a copy from pinned memory on a stream of its own runs beside the kernels of
    the step before, and so does `change`; the step that uses it waits for it on the device, the host never waits for a
    step. Pinned memory is held until the device has copied it: the loader would fill it again.
    """

    def here(batch: Batch) -> Batch:
        began = time.perf_counter()
        return _since(began, change(batch))

    if device.type != "cuda":
        yield from map(here, batches)
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    training = torch.cuda.current_stream(device)
    copied_from: deque[tuple[torch.cuda.Event, Batch]] = deque()
    try:
        for batch in batches:
            began = time.perf_counter()
            with torch.cuda.stream(copies):
                clips = batch.clips.to(device, non_blocking=True)
                labels = batch.labels.to(device, non_blocking=True)
                copied_from.append((copies.record_event(), batch))
                changed = change(dataclasses.replace(batch, clips=clips, labels=labels))
            del batch
            training.wait_stream(copies)
            mixed = (changed.mixed.labels, changed.mixed.shares) if changed.mixed else ()
            for tensor in (changed.clips, changed.labels, *mixed):
                tensor.record_stream(training)  # its memory is not used anew before the step has read it
            yield _since(began, changed)
            while copied_from and copied_from[0][0].query():  # type: ignore[no-untyped-call]
                copied_from.popleft()
    finally:
        copies.synchronize()


def _since(began: float, batch: Batch) -> Batch:
    """`batch`, at which this process was since then."""
    return dataclasses.replace(batch, seconds=batch.seconds.handed_over(began))

"""Batches on their way to the device while it still trains on the one before."""

import dataclasses
from collections.abc import Iterator

import torch

from pipeline.data.batch import Batch


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """`batches` with clips and labels on `device`; on the CPU they are there already.

    The host is a step ahead of a GPU, so a copy from pinned memory on a stream of its own runs beside the kernels of
    the step before; the step that uses it waits for it on the device, the host never does.
    """
    if device.type != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    training = torch.cuda.current_stream(device)
    for batch in batches:
        with torch.cuda.stream(copies):
            clips = batch.clips.to(device, non_blocking=True)
            labels = batch.labels.to(device, non_blocking=True)
        training.wait_stream(copies)
        for tensor in (clips, labels):
            tensor.record_stream(training)  # its memory is not used anew before the step has read it
        yield dataclasses.replace(batch, clips=clips, labels=labels)

"""The shared memory in which loader processes hand over clips: what a run needs of it, and what to do without it."""

import os
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import Config
from sharding.errors import UserError

PREFETCHED_STEPS = 3
"""Parts of batches that each loader process has ready."""

FOLDER = Path("/dev/shm")
_REMEDY = (
    "give it more (docker run --shm-size=8g, or --ipc=host), or use a smaller optim.global_batch, fewer ranks "
    "on this host, or data.workers=0"
)


def shared_bytes(count: int) -> Tensor:
    """Unfilled shared memory, uint8 (count,). Raises `UserError` where there is no room for it."""
    try:
        storage = torch.UntypedStorage._new_shared(count)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        raise UserError(
            f"{FOLDER}: no room for {_mb(count)} of shared memory, {_mb(bytes_free())} are free; {_REMEDY}"
        ) from None
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def check_room(config: Config, ranks: int) -> None:
    """Raise `UserError` where the loader processes of a run on `ranks` ranks are certain to fill the shared memory.

    Each rank holds `PREFETCHED_STEPS` steps that are ready, and one that is in use.
    """
    if not config.data.workers or not FOLDER.is_dir():
        return
    here = min(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), ranks)
    needed, found = bytes_needed(config, ranks, here), bytes_free()
    if found < needed:
        raise UserError(
            f"{FOLDER}: {_mb(found)} of shared memory are free, {_mb(needed)} are needed to hand over "
            f"{PREFETCHED_STEPS + 1} steps of {_clips(config, ranks, here)} clips on this host; {_REMEDY}"
        )


def bytes_needed(config: Config, ranks: int, here: int) -> int:
    """What the loader processes of the `here` ranks of this host hold at most, of `ranks` in all."""
    if not config.data.workers:
        return 0
    clip = prod((config.model.num_frames, 3, config.data.size, config.data.size))
    return (PREFETCHED_STEPS + 1) * _clips(config, ranks, here) * clip


def bytes_free() -> int:
    """What there is of shared memory."""
    found = os.statvfs(FOLDER)
    return found.f_bavail * found.f_frsize


def _clips(config: Config, ranks: int, here: int) -> int:
    return here * config.optim.global_batch * config.data.repeats // ranks


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"

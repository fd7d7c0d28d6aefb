"""The shared memory in which loader processes hand over clips: what a run needs of it, and what to do without it."""

import errno
import os
import tempfile
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.config import Config
from sharding.errors import UserError

PREFETCHED_STEPS = 3
"""Batches that the loader processes have ready, or are at, while one is in use."""
SLOTS = PREFETCHED_STEPS + 2
"""Batches in a ring: beside those, the one in use, and the next one, which is asked for before that is let go."""

FOLDER = Path("/dev/shm")
_REMEDY = (
    "give it more (docker run --shm-size=8g, or --ipc=host), or use a smaller optim.global_batch, fewer ranks "
    "on this host, or data.workers=0"
)


def shared_file() -> BinaryIO:
    """An empty file in shared memory, without a name: it is gone with the last process that has it open.

    Raises `UserError` where none can be made.
    """
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(buffering=0, dir=_folder()))
    except OSError as error:
        raise UserError(
            f"{_folder()}: no shared memory can be had there: {error.strerror}; {_REMEDY}"
        ) from None


def _folder() -> Path:
    """Where there is no such folder the system's temporary one serves, if more slowly."""
    return FOLDER if FOLDER.is_dir() else Path(tempfile.gettempdir())


def reserve(file: int, offset: int, count: int) -> None:
    """Make sure of `count` bytes of a shared file from `offset` on. Raises `UserError` where there is no room for them.

    Memory that is not made sure of is a bus error when it is written to.
    """
    try:
        os.posix_fallocate(file, offset, count)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
            raise
        raise UserError(
            f"{_folder()}: no room for {_mb(count)} of shared memory, {_mb(bytes_free())} are free; {_REMEDY}"
        ) from None


def check_room(config: Config, ranks: int) -> None:
    """Raise `UserError` where the loader processes of a run on `ranks` ranks are certain to fill the shared memory.

    Each rank has a ring of `SLOTS` batches to train on, and one for an evaluation, during which training's waits.
    """
    if not config.data.workers or not FOLDER.is_dir():
        return
    here = min(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), ranks)
    needed, found = bytes_needed(config, ranks, here), bytes_free()
    if found < needed:
        raise UserError(
            f"{FOLDER}: {_mb(found)} of shared memory are free, {_mb(needed)} are needed to hand over "
            f"{SLOTS} steps of {_clips(config, ranks, here)} clips on this host, and {SLOTS} of "
            f"{_views(config, ranks, here)} views in an evaluation; {_REMEDY}"
        )


def bytes_needed(config: Config, ranks: int, here: int) -> int:
    """What the rings of the `here` ranks of this host take, of `ranks` in all: one to train, and one to evaluate."""
    if not config.data.workers:
        return 0
    training = _clips(config, ranks, here) * _clip_bytes(config, config.data.size)
    evaluation = _views(config, ranks, here) * _clip_bytes(config, _view_side(config))
    return SLOTS * (training + evaluation)


def _views(config: Config, ranks: int, here: int) -> int:
    """Views of a step of an evaluation, on this host."""
    batch, views = config.optim.global_batch // ranks, config.views.clips * config.views.crops
    return here * (max(batch // views, 1) * views if config.views.size != "full" else views)


def _clip_bytes(config: Config, side: int) -> int:
    return prod((config.model.num_frames, config.model.in_channels, side, side))


def _view_side(config: Config) -> int:
    """Pixels of a view's shorter side."""
    match config.views.size:
        case None:
            return config.data.size
        case "full":
            return config.data.short_side
        case size:
            return size


def bytes_free() -> int:
    """What there is of shared memory."""
    found = os.statvfs(_folder())
    return found.f_bavail * found.f_frsize


def _clips(config: Config, ranks: int, here: int) -> int:
    return here * config.optim.global_batch * config.data.repeats // ranks


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"

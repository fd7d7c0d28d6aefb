"""What would end a training in its first seconds, found before it waits in a queue. No torch."""

import os
import socket
from collections.abc import Collection

from pipeline.config import Config
from pipeline.data import splits
from pipeline.order import position
from pipeline.run import owner
from sharding import storage
from sharding.errors import UserError


def check(config: Config, ranks: int, follows: bool = False, sizes: Collection[int] = ()) -> list[str]:
    """Raise `UserError` where a training on `ranks` ranks would end with one; returns what there is to train on.

    Of shards only manifests and one sidecar are read. `follows`: the training begins when another job has ended, which
    may hold the run folder until then. `sizes`: all numbers of ranks that it may have as hosts come and go.
    """
    position.check_sizes(config, sizes)
    train_set, validation_set, mixed = splits.load_all(config)
    at = position.first(config, train_set, ranks, tuple(one.share for one in mixed))
    check_folder(config.run.folder, follows)
    return [
        f"{train_set.root}: {train_set.samples} videos, {len(train_set.classes)} classes; "
        f"{validation_set.samples} videos to validate",
        *(
            f"mixed with {one.samples} of {one.split.samples} videos of {one.split.root} an epoch"
            for one in mixed
        ),
        f"{at.steps_in_epoch} steps of {at.global_batch} videos an epoch, {at.global_batch // ranks} a rank and step",
    ]


def check_writable(folder: str) -> None:
    """Raise `UserError` where nothing can be written in the folder."""
    url = storage.join(folder, f".writable-{socket.gethostname()}-{os.getpid()}")
    storage.write_bytes(url, b"")
    storage.remove(url)


def check_folder(folder: str, follows: bool = False) -> None:
    """Raise `UserError` where the run folder cannot be written, or another run holds it."""
    check_writable(folder)
    life = owner.life(folder)
    if life is not None and not follows and not life.dead and life.silent_s < owner.LEASE_S:
        raise UserError(
            f"{folder}: a run wrote here {life.silent_s:.0f} s ago; stop it first, or use another run.folder"
        )

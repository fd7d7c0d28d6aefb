"""The record of a stream, for `python -m pipeline.audit FOLDER`."""

import torch.distributed as dist

from pipeline.order.position import Position
from pipeline.run import audit_log
from pipeline.run.audit_log import AuditLog, Settings, Start
from sharding.errors import UserError
from sharding.format.manifest import Manifest


def begin(
    folder: str, split: Manifest, at: Position, rank: int, ranks: int, epochs: int, corrupt_budget: float
) -> AuditLog:
    """Put on record that a stream goes on at `at`; returns what `rank` writes to. All ranks call it together."""
    if ranks > 1 and not dist.is_initialized():
        raise UserError(
            f"{folder}: the audit of {ranks} ranks needs their process group; call "
            "torch.distributed.init_process_group before the first batch"
        )
    if rank == 0:
        settings = Settings(epochs, 1, None, None, corrupt_budget)
        audit_log.clear(folder, at.done)
        audit_log.begin(folder, Start(at, ranks, split.root, settings))
    if ranks > 1:
        dist.barrier()
    return AuditLog(folder, rank, at.done)

"""What a run writes into its folder while it trains: metrics, the audit, unfit steps, checkpoints."""

import sys
from functools import partial
from types import TracebackType

from pipeline.config import Config
from pipeline.data.batch import Batch
from pipeline.order.position import Position
from pipeline.ranks.distributed import World
from pipeline.ranks.preemption import Preempted
from pipeline.run.audit_log import AuditLog
from pipeline.run.checkpoint import Checkpoints, Merit, State
from pipeline.run.journal import Line
from pipeline.run.metrics import Reporter
from pipeline.run.nonfinite import NonFinite
from pipeline.run.owner import LostFolderError, Owner
from pipeline.run.snapshot import copied
from pipeline.run.uploads import Uploads
from sharding.errors import UserError
from sharding.format.manifest import Manifest


class RunFolder:
    """Every rank has one and makes the same calls; the main process writes what is common to all.

    Checkpoints are written beside training; where that fails, it is tried again while training goes on (`Uploads`).
    A context: at its end, after an error too, everything that was begun is complete.
    """

    def __init__(self, config: Config, at: Position, world: World, owner: Owner) -> None:
        run = config.run
        self._world, self._owner = world, owner
        self._uploads = Uploads(60 * run.checkpoint_patience_minutes, owner.check)
        total = at.steps_in_epoch * config.optim.epochs
        self._reporter = Reporter(config, at.done, total, owner.check, self._uploads) if world.main else None
        self._audit = AuditLog(run.folder, world.rank, at.done, owner.check) if run.audit else None
        self._unfit = NonFinite(run.folder, at.done, run.max_nonfinite, world)
        self._checkpoints = Checkpoints(run.folder, run.keep)

    def used(self, done: int, batch: Batch) -> None:
        """`batch` was used for the step after which `done` steps are done."""
        self._unfit.add(done, batch)
        if self._audit:
            self._audit.write(done, batch)

    def metrics(self, line: Line, unfit: list[bool]) -> None:
        """A line of training metrics, and which of the steps since the last one had no finite loss.

        Raises `UserError` where the folder could not be written for too long.
        """
        self._uploads.check()
        if self._reporter:
            self._reporter.train(line)
        self._unfit.judge(unfit)

    def validation(self, at: Position, figures: Line, split: Manifest, keys: list[str]) -> None:
        """The scores after the last step of an epoch, over the samples `keys` of `split`; on the main process alone."""
        if self._audit:
            record = partial(self._audit.validation, at.done, split, keys)
            self._uploads.submit(f"evaluation after {at.done} steps", record)
        if self._reporter:
            self._reporter.validation({"step": at.done, "epoch": at.epoch - 1, **figures})

    def save(self, at: Position, state: State, merit: Merit | None) -> None:
        """Begin a checkpoint; what led to it is on record before it is. Training waits for the copy alone.

        `merit`: of the evaluation that was just made, if one was.
        """
        if not self._is_on_record():
            return
        if self._reporter:
            self._uploads.check()
            self._reporter.flush()
            # An evaluated one waits beside a newer one: it may be the best.
            name = "checkpoint" if merit is None else "evaluated checkpoint"
            self._uploads.submit(name, partial(self._checkpoints.save, at.done, copied(state), merit))

    def _is_on_record(self) -> bool:
        """Whether every rank's audit is; where a store is away, the checkpoint is left to the next time."""
        if not self._audit:
            return True
        failed = False
        try:
            self._audit.flush()
        except UserError as error:
            self._owner.check()
            print(f"warning: {error}; no checkpoint before the next one", file=sys.stderr, flush=True)
            failed = True
        return not self._world.any(failed)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reporter:
            self._reporter.flush()
        try:
            self._uploads.close()
        except UserError as lost:
            if error is None or isinstance(error, Preempted):
                raise
            if not isinstance(
                lost, LostFolderError
            ):  # which is said already; the first error is the one to tell
                print(f"warning: {lost}", file=sys.stderr, flush=True)
        finally:
            if self._reporter:
                self._reporter.close()
        if error is None or isinstance(error, Preempted):
            self._world.wait()  # torchrun ends all ranks when one has ended

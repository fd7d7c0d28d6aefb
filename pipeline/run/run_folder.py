"""What a run writes into its folder while it trains: metrics, the audit, unfit steps, checkpoints."""

from types import TracebackType

from pipeline.config import Config
from pipeline.data.batch import Batch
from pipeline.order.position import Position
from pipeline.ranks.distributed import World
from pipeline.ranks.preemption import Preempted
from pipeline.run.audit_log import AuditLog
from pipeline.run.checkpoint import Checkpoints, State
from pipeline.run.journal import Line
from pipeline.run.metrics import Reporter
from pipeline.run.nonfinite import NonFinite
from pipeline.run.snapshot import BackgroundCheckpoints
from sharding.format.manifest import Manifest


class RunFolder:
    """Every rank has one and makes the same calls; the main process writes what is common to all.

    A context: at its end, after an error too, everything that was begun is complete.
    """

    def __init__(self, config: Config, at: Position, world: World) -> None:
        run = config.run
        self._world = world
        self._reporter = (
            Reporter(run.folder, at.done, at.steps_in_epoch * config.optim.epochs) if world.main else None
        )
        self._audit = AuditLog(run.folder, world.rank, at.done) if run.audit else None
        self._unfit = NonFinite(run.folder, at.done, run.max_nonfinite, world)
        self._checkpoints = BackgroundCheckpoints(Checkpoints(run.folder, run.keep))

    def used(self, done: int, batch: Batch) -> None:
        """`batch` was used for the step after which `done` steps are done."""
        self._unfit.add(done, batch)
        if self._audit:
            self._audit.write(done, batch)

    def metrics(self, line: Line, unfit: list[bool]) -> None:
        """A line of training metrics, and which of the steps since the last one had no finite loss."""
        if self._reporter:
            self._reporter.train(line)
        self._unfit.judge(unfit)

    def validation(self, at: Position, figures: Line, split: Manifest, keys: list[str]) -> None:
        """The scores after the last step of an epoch, over the samples `keys` of `split`; on the main process alone."""
        if self._audit:
            self._audit.validation(at.done, split, keys)
        if self._reporter:
            self._reporter.validation({"step": at.done, "epoch": at.epoch - 1, **figures})

    def save(self, at: Position, state: State, top1: float | None) -> None:
        """Begin a checkpoint; what led to it is on record before it is."""
        if self._audit:
            self._audit.flush()
        self._world.wait()
        if self._reporter:
            self._reporter.flush()
            self._checkpoints.save(at.done, state, top1)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checkpoints.close()
        if self._reporter:
            self._reporter.close()
        if error is None or isinstance(error, Preempted):
            self._world.wait()  # torchrun ends all ranks when one has ended

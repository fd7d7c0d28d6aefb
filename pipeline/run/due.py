"""What is to be done after a step: decided from numbers alone, the same on every rank."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import Run
from pipeline.order.position import Position


@dataclass(frozen=True)
class Due:
    """After a step: a line of metrics, an evaluation, a checkpoint, the end of the run; in this order."""

    log: bool
    evaluate: bool
    save: bool
    stop: bool
    epoch_ends: bool


def due_after(at: Position, run: Run, epochs: int, stop: bool, time_is_up: Callable[[], bool]) -> Due:
    """What is due at `at`, with one step or more done, in a run of `epochs`.

    `stop`: the ranks were told to. `time_is_up` says whether `run.checkpoint_minutes` have passed; it is asked where
    metrics are written alone, for its answer is exchanged between the ranks.
    """
    epoch_ends = at.step == 0
    save = stop or epoch_ends or (run.checkpoint_steps is not None and at.done % run.checkpoint_steps == 0)
    log = save or at.done % run.log_steps == 0
    return Due(
        log=log,
        evaluate=epoch_ends and (at.epoch % run.evaluate_epochs == 0 or at.epoch == epochs),
        save=save or (log and time_is_up()),
        stop=stop,
        epoch_ends=epoch_ends,
    )


class CheckpointClock:
    """Tells when `minutes` have passed since the last checkpoint; never, where they are None."""

    def __init__(self, minutes: float | None) -> None:
        self._minutes = minutes
        self.restart()

    def restart(self) -> None:
        """A checkpoint was written now."""
        self._last = time.monotonic()

    def time_is_up(self) -> bool:
        """Whether this process's clock says so."""
        return self._minutes is not None and time.monotonic() - self._last >= 60 * self._minutes

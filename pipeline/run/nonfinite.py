"""Steps whose loss or gradients were not finite: written down with their samples; too many in a row end the run.

Such a step changes no weights (`pipeline.training.precision`). `nonfinite.jsonl` in the run folder has a line for
each: `step`, `epoch`, and the `keys` of its global batch. In fp16 the first steps may be among them, until the loss
scale is found.
"""

from pipeline.data.batch import Batch
from pipeline.ranks.distributed import World
from pipeline.run.journal import Journal, Line
from sharding import storage
from sharding.errors import UserError


class NonFinite:
    """Keeps the samples of each step until it is known, at the next line of metrics, whether it was fit.

    Every rank has one and makes the same calls.
    """

    def __init__(self, folder: str, resumed_step: int, limit: int, world: World) -> None:
        self._url, self._resumed_step = storage.join(folder, "nonfinite.jsonl"), resumed_step
        self._limit, self._world = limit, world
        self._journal: Journal | None = None
        self._pending: list[Line] = []
        self._in_a_row = 0

    def add(self, done: int, batch: Batch) -> None:
        """`batch` was used for the step after which `done` steps are done."""
        self._pending.append({"step": done, "epoch": batch.epoch, "keys": batch.keys})

    def judge(self, unfit: list[bool]) -> None:
        """Write down the steps since the last call that were `unfit`.

        Raises `UserError` where that makes `limit` steps in a row.
        """
        lines = [line for line, bad in zip(self._pending, unfit, strict=True) if bad]
        if lines:
            self._write(lines)
        self._pending = []
        for bad in unfit:
            self._in_a_row = self._in_a_row + 1 if bad else 0
            if self._in_a_row >= self._limit:
                raise UserError(
                    f"loss or gradients were not finite in {self._in_a_row} steps in a row; their samples are in "
                    f"{self._url}; try a lower optim.lr, a longer optim.warmup_epochs, or run.precision=bf16 in "
                    "place of fp16"
                )

    def _write(self, lines: list[Line]) -> None:
        parts = self._world.gather(lines)
        if not self._world.main:
            return
        if self._journal is None:
            self._journal = Journal(self._url, self._resumed_step)
        for same_step in zip(*parts, strict=True):
            self._journal.write({**same_step[0], "keys": [key for line in same_step for key in line["keys"]]})
        self._journal.flush()

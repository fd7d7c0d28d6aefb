"""Which samples a run used, step by step; `python -m pipeline.audit RUN` proves that they are the planned ones.

In the folder `audit` of the run folder, for a run that was last resumed after 12 steps:

- `from-00000012.json`: the order of samples that holds from there on (a `Position`), the number of `ranks`,
  the `split` that is trained on, and the `settings` of then that decide what else is on record; of a mixture its
  other sets, as `mix`;
- `from-00000012.rank-001.jsonl`: what rank 1 used since then, one line a step: `step` (steps done with this one),
  `epoch`, `numbers` and `keys` of the planned samples, and those of the `keys` that were `replaced` by others because
  they are damaged; in a mixture a key stands behind the number of its set, as `1:clip-5`, the training split's being 0;
- `validation-00000024.json`: the `keys` that the evaluation after 24 steps scored, of which `split` and `manifest`.

`audit_record` reads them.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.order.position import Position
from pipeline.run import journal
from pipeline.run.journal import Journal, Line
from sharding import storage
from sharding.errors import UserError
from sharding.format import schema
from sharding.format.manifest import Manifest

if TYPE_CHECKING:  # which would import torch
    from pipeline.data.batch import Batch

LOG = re.compile(r"from-(\d+)\.rank-(\d+)\.jsonl")
START = re.compile(r"from-(\d+)\.json")
VALIDATION = re.compile(r"validation-(\d+)\.json")


@dataclass(frozen=True)
class Settings:
    """What may change from start to start, and decides which evaluations and how many replaced samples there may be.

    `validation`: URL of the split that is evaluated, `validation_manifest`: its manifest's SHA-256; `corrupt_budget`:
    the share of an epoch's samples that may be replaced, 0 where the first damaged one ends the run. None are both of a
    stream that somebody trains on with a program of their own (`pipeline.streaming`): it evaluates nothing, and has no
    configuration.
    """

    __pydantic_config__ = schema.OPEN

    epochs: Annotated[int, Field(ge=1)]
    evaluate_epochs: Annotated[int, Field(ge=1)]
    validation: str | None
    validation_manifest: str | None
    corrupt_budget: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Start:
    """A start of the run: behind which step, on how many ranks, on which split (URL).

    `settings` are None in records of earlier versions, which did not write them down.
    """

    position: Position
    ranks: int
    split: str
    settings: Settings | None = None


@dataclass(frozen=True)
class Validation:
    """What the evaluation after `step` steps scored: keys of the split at a URL, and its manifest's SHA-256."""

    __pydantic_config__ = schema.OPEN

    step: Annotated[int, Field(ge=0)]
    split: str
    manifest: str
    keys: schema.Rows[str]


def clear(folder: str, resumed_step: int) -> None:
    """Remove what a run that was cut off used after the checkpoint; the main process calls it first."""
    for pattern, first in ((LOG, resumed_step), (START, resumed_step), (VALIDATION, resumed_step + 1)):
        for match, url in files(folder, pattern):
            if int(match[1]) >= first:
                storage.remove(url)


def begin(folder: str, start: Start) -> None:
    """Put a start on record; the main process calls it before any rank logs."""
    content = {"split": start.split, "ranks": start.ranks, **start.position.plain()}
    if start.settings is not None:
        content["settings"] = asdict(start.settings)
    _save(url_of(folder, f"from-{start.position.done:08d}.json"), content)


class AuditLog:
    """Writes one rank's part. `UserError` where another process has written some of it since `clear`."""

    def __init__(
        self, folder: str, rank: int, resumed_step: int, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = folder
        url = log_url(folder, resumed_step, rank)
        # Two writers of one log would leave a record of neither. The first one's is not to be emptied.
        if steps := len(journal.read(url)):
            raise UserError(
                f"{url}: has {steps} steps of this start already: another process trains in this run folder; "
                "end it and start again, or use another run.folder"
            )
        self._journal = Journal(url, -1, guard)

    def write(self, done: int, batch: "Batch") -> None:
        """`batch` was used for the step after which `done` steps are done."""
        self._journal.write(
            {
                "step": done,
                "epoch": batch.epoch,
                "numbers": batch.numbers,
                "keys": batch.keys,
                "replaced": batch.replaced,
            }
        )

    def validation(self, done: int, split: Manifest, keys: list[str]) -> None:
        """The evaluation after `done` steps scored these samples of `split`; the main process alone says so."""
        content = asdict(Validation(done, split.root, split.sha256, keys))
        _save(validation_url(self._folder, done), content)

    def flush(self) -> None:
        """Nothing is held back after this."""
        self._journal.flush()


def log_url(folder: str, start: int, rank: int) -> str:
    """Where `rank` logs after a start behind step `start`."""
    return url_of(folder, f"from-{start:08d}.rank-{rank:03d}.jsonl")


def validation_url(folder: str, step: int) -> str:
    """Where the evaluation after `step` steps is put on record."""
    return url_of(folder, f"validation-{step:08d}.json")


def files(folder: str, pattern: re.Pattern[str]) -> list[tuple[re.Match[str], str]]:
    """The files of a run's audit whose names match, in order, each with its URL."""
    names = storage.list_names(storage.join(folder, "audit"))
    matches = [(pattern.fullmatch(name), name) for name in names]
    return [(match, url_of(folder, name)) for match, name in matches if match]


def url_of(folder: str, name: str) -> str:
    """A file of a run's audit."""
    return storage.join(folder, "audit", name)


def _save(url: str, content: Line) -> None:
    storage.write_bytes(url, json.dumps(content).encode())

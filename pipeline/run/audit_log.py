"""Which samples a run used, step by step; `python -m pipeline.audit RUN` proves that they are the planned ones.

In the folder `audit` of the run folder, for a run that was last resumed after 12 steps:

- `from-00000012.json`: the order of samples that holds from there on (a `Position`), the number of `ranks`,
  and the `split` that is trained on;
- `from-00000012.rank-001.jsonl`: what rank 1 used since then, one line a step: `step` (steps done with this one),
  `epoch`, `numbers` and `keys` of the planned samples, and those of the `keys` that were `replaced` by others because
  they are damaged;
- `validation-00000024.json`: the `keys` that the evaluation after 24 steps scored, of which `split` and `manifest`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from pipeline.order.position import Position
from pipeline.run.journal import Journal, Line
from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest

if TYPE_CHECKING:  # which would import torch
    from pipeline.data.batch import Batch

_LOG = re.compile(r"from-(\d+)\.rank-(\d+)\.jsonl")
_START = re.compile(r"from-(\d+)\.json")
_VALIDATION = re.compile(r"validation-(\d+)\.json")


@dataclass(frozen=True)
class Start:
    """A start of the run: behind which step, on how many ranks, on which split (URL)."""

    position: Position
    ranks: int
    split: str


@dataclass(frozen=True)
class Validation:
    """What the evaluation after `step` steps scored: keys of the split at a URL, and its manifest's SHA-256."""

    step: int
    split: str
    manifest: str
    keys: list[str]


def clear(folder: str, resumed_step: int) -> None:
    """Remove what a run that was cut off used after the checkpoint; the main process calls it first."""
    for pattern, first in ((_LOG, resumed_step), (_START, resumed_step), (_VALIDATION, resumed_step + 1)):
        for match, url in _files(folder, pattern):
            if int(match[1]) >= first:
                storage.remove(url)


def begin(folder: str, start: Start) -> None:
    """Put a start on record; the main process calls it before any rank logs."""
    content = {"split": start.split, "ranks": start.ranks, **asdict(start.position)}
    _save(_url(folder, f"from-{start.position.done:08d}.json"), content)


class AuditLog:
    """Writes one rank's part."""

    def __init__(
        self, folder: str, rank: int, resumed_step: int, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = folder
        self._journal = Journal(log_url(folder, resumed_step, rank), -1, guard)

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
        _save(_url(self._folder, f"validation-{done:08d}.json"), content)

    def flush(self) -> None:
        """Nothing is held back after this."""
        self._journal.flush()


def log_url(folder: str, start: int, rank: int) -> str:
    """Where `rank` logs after a start behind step `start`."""
    return _url(folder, f"from-{start:08d}.rank-{rank:03d}.jsonl")


def starts(folder: str) -> list[Start]:
    """The starts of the run, in order. `UserError` where none is on record."""
    found = []
    for _, url in _files(folder, _START):
        content = json.loads(storage.read_bytes(url))
        position = Position(**{field.name: content[field.name] for field in fields(Position)})
        found.append(Start(position, content["ranks"], content["split"]))
    if not found:
        raise UserError(
            f"{folder}: no start of a run is on record in its folder audit; train with run.audit=true"
        )
    return sorted(found, key=lambda start: start.position.done)


def validations(folder: str) -> Iterator[Validation]:
    """The evaluations of the run, in order."""
    for _, url in _files(folder, _VALIDATION):
        yield Validation(**json.loads(storage.read_bytes(url)))


def lines(url: str) -> Iterator[Line]:
    """The lines of one rank's log, one at a time; half a line at the end, left by a kill, does not count."""
    if not storage.exists(url):
        return
    with storage.open_read(url) as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _files(folder: str, pattern: re.Pattern[str]) -> list[tuple[re.Match[str], str]]:
    """The files of a run's audit whose names match, in order, each with its URL."""
    audit = storage.join(folder, "audit")
    matches = [(pattern.fullmatch(name), name) for name in storage.list_names(audit)]
    return [(match, storage.join(audit, name)) for match, name in matches if match]


def _url(folder: str, name: str) -> str:
    return storage.join(folder, "audit", name)


def _save(url: str, content: Line) -> None:
    storage.write_bytes(url, json.dumps(content).encode())

"""Reads what a run put on record for its proof. What cannot be read is a finding with its place, not an error."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import Field

from pipeline.order.position import Position, Share
from pipeline.run import audit_log
from pipeline.run.audit_log import Settings, Start, Validation
from sharding import storage
from sharding.errors import UserError
from sharding.format import schema

MOST = 40
"""Findings after which the search ends."""

T = TypeVar("T")
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Positive = Annotated[int, Field(ge=1, lt=2**53)]


@dataclass(frozen=True)
class Used:
    """What one rank used for one step: a line of its log."""

    __pydantic_config__ = schema.OPEN

    step: _Positive
    epoch: _Count
    numbers: schema.Rows[_Count]
    keys: schema.Rows[str]
    replaced: schema.Rows[str]


@dataclass(frozen=True)
class _Share:
    __pydantic_config__ = schema.OPEN

    split: str
    manifest: str
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    samples: _Positive


@dataclass(frozen=True)
class _Start:
    __pydantic_config__ = schema.OPEN

    split: str
    ranks: _Positive
    manifest: str
    seed: Annotated[int, Field(ge=0)]
    lanes: _Positive
    window: _Positive
    global_batch: _Positive
    steps_in_epoch: _Positive
    done: _Count
    settings: Settings | None = None
    run_window: _Positive | None = None
    mix: schema.Rows[_Share] = field(default_factory=list)


@dataclass(frozen=True)
class _Latest:
    __pydantic_config__ = schema.OPEN

    step: _Count


@dataclass(frozen=True)
class _Metrics:
    __pydantic_config__ = schema.OPEN

    kind: str
    step: _Count


class Record:
    """The record of the run in `folder`. What cannot be read, or contradicts its own name, is added to `findings`."""

    CONFIGURATION: ClassVar[str] = "config.yaml"

    def __init__(self, folder: str, findings: list[str]) -> None:
        self.folder, self._findings = folder, findings

    def starts(self) -> list[Start]:
        """The starts of the run, in order. `UserError` where nothing at all is on record."""
        found, unread = [], set()
        for match, url in audit_log.files(self.folder, audit_log.START):
            content = self._read(_Start, url)
            if content is None:
                unread.add(int(match[1]))
                continue
            if content.done != int(match[1]):
                self._findings.append(f"{url}: is of a start behind step {content.done}, by its content")
            mix = tuple(Share(**vars(share)) for share in content.mix)
            position = Position(**{f.name: getattr(content, f.name) for f in fields(Position)} | {"mix": mix})
            found.append(Start(position, content.ranks, content.split, content.settings))
        logs = audit_log.files(self.folder, audit_log.LOG)
        if not (found or unread or logs):
            raise UserError(
                f"{self.folder}: no start of a run is on record in its folder audit; train with run.audit=true"
            )
        ranks = {start.position.done: start.ranks for start in found}
        for match, url in logs:
            step = int(match[1])
            if step not in ranks and step not in unread:
                self._findings.append(f"{url}: no start behind step {step} is on record")
            elif int(match[2]) >= ranks.get(step, int(match[2]) + 1):
                self._findings.append(f"{url}: that start was on {ranks[step]} ranks")
        return sorted(found, key=lambda start: start.position.done)

    def lines(self, start: Start, rank: int) -> Iterator[tuple[str, Used]]:
        """The lines of one rank's log, one at a time, each behind its place.

        Half a line at the end, left by a kill, does not count.
        """
        url = audit_log.log_url(self.folder, start.position.done, rank)
        for place, line in self._lines(url):
            if used := self._parsed(Used, place, line):
                yield place, used

    def validations(self) -> Iterator[Validation]:
        """The evaluations of the run, in order."""
        for match, url in audit_log.files(self.folder, audit_log.VALIDATION):
            if (content := self._read(Validation, url)) is None:
                continue
            if content.step != int(match[1]):
                self._findings.append(
                    f"{url}: is of the evaluation after step {content.step}, by its content"
                )
            else:
                yield content

    def evaluated(self) -> set[int]:
        """The steps after which the run's metrics have scores: the evaluation's record was written before them."""
        steps = set()
        for place, line in self._lines(storage.join(self.folder, "metrics.jsonl")):
            metrics = self._parsed(_Metrics, place, line)
            if metrics and metrics.kind == "validation":
                steps.add(metrics.step)
        return steps

    def checkpointed(self) -> int:
        """The step of the newest checkpoint: up to there everything must be on record."""
        url = storage.join(self.folder, "checkpoints", "latest.json")
        latest = self._read(_Latest, url) if storage.exists(url) else None
        return latest.step if latest else 0

    def configuration(self) -> dict[str, Any]:
        """The run's configuration as it was written, section by section; empty where it cannot be read."""
        url = storage.join(self.folder, self.CONFIGURATION)
        if not storage.exists(url):
            self._findings.append(f"{url}: no such file; every start of a run writes it")
            return {}
        try:
            tree = yaml.safe_load(storage.read_bytes(url))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self._findings.append(f"{url}: not valid YAML: {' '.join(str(error).split())[:200]}")
            return {}
        if isinstance(tree, dict) and all(isinstance(section, dict) for section in tree.values()):
            return tree
        self._findings.append(f"{url}: not a configuration, which is a mapping of sections")
        return {}

    def _lines(self, url: str) -> Iterator[tuple[str, bytes]]:
        if not storage.exists(url):
            return
        with storage.open_read(url) as stream:
            for number, line in enumerate(stream, 1):
                if line.endswith(b"\n") and len(self._findings) < MOST:
                    yield f"{url}, line {number}", line

    def _read(self, kind: type[T], url: str) -> T | None:
        return self._parsed(kind, url, storage.read_bytes(url))

    def _parsed(self, kind: type[T], place: str, data: bytes) -> T | None:
        try:
            return schema.parse(kind, data)
        except ValueError as error:
            self._findings.append(f"{place}: cannot be used: {error}")
            return None

"""The part of the proof that holds a run's evaluations against what was configured, and against their split."""

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.run import audit_log
from pipeline.run.audit_log import Settings, Start, Validation
from pipeline.run.audit_record import Record
from pipeline.run.planned import Split
from sharding.errors import UserError


@dataclass(frozen=True)
class Found:
    """How many evaluations are on record, and the last step, if one is due after it that is not."""

    evaluations: int
    to_come: int | None


@dataclass(frozen=True)
class _Stretch:
    """What one start did: the steps after `first` up to `last`, or whatever comes."""

    first: int
    last: int | None
    settings: Settings | None

    def has(self, step: int) -> bool:
        """Whether a step is among them."""
        return self.first < step and (self.last is None or step <= self.last)


def check(record: Record, starts: list[Start], steps_in_epoch: int, reach: int, findings: list[str]) -> Found:
    """Every evaluation that was due up to step `reach`, the last on record, scored every sample of its split once.

    The one after the last step is due as soon as metrics have its scores; until then the run may be in the middle of
    it, or was stopped there. Where logs in a bucket lag behind, that of the epoch on its way may be there already.
    """
    ends = [start.position.done for start in starts[1:]]
    stretches = [
        _Stretch(start.position.done, end, start.settings)
        for start, end in zip(starts, [*ends, None], strict=True)
    ]
    due = list(_due(stretches, steps_in_epoch, reach))
    coming = (reach // steps_in_epoch + 1) * steps_in_epoch
    recorded = list(record.validations())
    steps = {validation.step for validation in recorded}
    scored = record.evaluated()
    for step in due:
        if step not in steps and (step < reach or step in scored):
            url = audit_log.validation_url(record.folder, step)
            findings.append(f"evaluation after step {step}: was due, and is not on record in {url}")
    load = functools.lru_cache(2)(functools.partial(_split_of, starts))  # of most runs there is one
    for validation in recorded:
        where = f"evaluation after step {validation.step}"
        if any(s.settings for s in stretches if s.has(validation.step)):
            if validation.step not in due and validation.step not in _due(stretches, steps_in_epoch, coming):
                findings.append(f"{where}: is on record, and none was due there")
            if fault := _other_split(validation, stretches):
                findings.append(f"{where}: {fault}")
                continue
        _check_keys(where, validation, load(validation.split, validation.manifest), findings)
    to_come = reach if reach in due and reach not in steps else None
    return Found(len(recorded), to_come)


def _due(stretches: list[_Stretch], steps_in_epoch: int, reach: int) -> Iterator[int]:
    """The steps, up to `reach`, after which an evaluation is due; as far as settings are on record."""
    for epoch in range(1, reach // steps_in_epoch + 1):
        step = epoch * steps_in_epoch
        for settings in (s.settings for s in stretches if s.has(step)):
            if (
                settings
                and settings.validation
                and (epoch == settings.epochs or _is_between(epoch, settings))
            ):
                yield step


def _is_between(epoch: int, settings: Settings) -> bool:
    return epoch < settings.epochs and epoch % settings.evaluate_epochs == 0


def _other_split(validation: Validation, stretches: list[_Stretch]) -> str | None:
    """Of what split the evaluation is instead of the configured one."""
    # A run that is stopped in an evaluation does it first after its next start, with the settings of then.
    asked = [
        s.settings for s in stretches if s.settings and (s.has(validation.step) or s.first == validation.step)
    ]
    if (validation.split, validation.manifest) in [(s.validation, s.validation_manifest) for s in asked]:
        return None
    if validation.split in [s.validation for s in asked]:
        return f"of another manifest of {validation.split} than the run was started with"
    return f"of {validation.split}, the run evaluates {asked[0].validation}"


def _split_of(starts: list[Start], url: str, manifest: str) -> Split:
    """The split with this manifest: at `url`, or where a later start found it, for shards may be moved."""
    found = [s.settings.validation for s in reversed(starts) if s.settings and s.settings.validation]
    moved = [other for other in found if other != url]
    for other in [url, *dict.fromkeys(moved)]:
        with contextlib.suppress(UserError):
            return Split(other, manifest)
    return Split(url, manifest)


def _check_keys(where: str, validation: Validation, split: Split, findings: list[str]) -> None:
    counts = Counter(validation.keys)
    findings += [f"{where}: {key} was scored {counts[key]} times" for key in split.keys if counts[key] != 1]
    findings += [
        f"{where}: {key} was scored, which is no sample of {validation.split}"
        for key in counts
        if key not in split.place
    ]

"""The proof that a run used the planned samples, or where it did not; `pipeline.audit` is the program.

What the ranks wrote down (`audit_log`) is held against the plan, which is worked out anew from the manifest and
the recorded seed, window and lanes; and, apart from any plan, every key of an epoch is counted. Of the logs one step
is in memory at a time, of the split its keys.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.order import plan
from pipeline.run import audit_log
from pipeline.run.audit_log import Start
from pipeline.run.journal import Line
from sharding import storage
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest
from sharding.format.shard import load_sidecar

MOST = 40
"""Findings after which the search ends."""


@dataclass
class Proof:
    """What was found: `steps` are those on record from the first on, `findings` what is not as it should be."""

    findings: list[str] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    steps: int = 0
    steps_in_epoch: int = 0
    samples: int = 0
    left_out: int = 0
    replaced: int = 0
    evaluations: int = 0


def prove(folder: str) -> Proof:
    """The proof for the run in `folder`. `UserError` where nothing is on record, or the shards are others now."""
    starts = audit_log.starts(folder)
    split = _Split(starts[0].split, starts[0].position.manifest)
    proof = Proof(steps_in_epoch=starts[0].position.steps_in_epoch)
    proof.restarts = [start.position.done for start in starts[1:]]
    if starts[0].position.done:
        proof.findings.append(f"steps 1 to {starts[0].position.done}: not on record; run.audit was off then")
    proof.steps = starts[0].position.done
    epoch = _Epoch(split, proof)
    kept = [*proof.restarts, _checkpointed(folder)]
    for i, start in enumerate(starts):
        # What an earlier start did after the step where a later one began was done again.
        for step, lines in _steps(folder, start, kept[i], i < len(proof.restarts), proof.findings):
            epoch.check(start, step, lines)
            proof.steps = step
            if len(proof.findings) >= MOST:
                return proof
    _check_validations(folder, proof)
    return proof


class _Split:
    """The samples of a split: `keys` in the order of its shards, and the place of each key there."""

    def __init__(self, url: str, sha256: str) -> None:
        made: Manifest = manifest.load(url)
        if made.sha256 != sha256:
            raise UserError(f"{url}: its manifest is not the one that this run was trained with")
        sidecars = (load_sidecar(made.sidecar_url(i)) for i in range(len(made.shards)))
        self.keys = [row.key for sidecar in sidecars for row in sidecar.samples]
        self.place = {key: i for i, key in enumerate(self.keys)}
        self.shard_samples = np.array([shard.samples for shard in made.shards])

    @functools.lru_cache(1)  # noqa: B019 - there is one split, which lives as long as the proof
    def order(self, order: plan.Order, epoch: int) -> plan.Indices:
        """The place of each sample number of an epoch."""
        return plan.epoch_order(self.shard_samples, order, epoch)


class _Epoch:
    """Checks the steps of one epoch after another, and counts each one's samples."""

    def __init__(self, split: _Split, proof: Proof) -> None:
        self._split, self._proof = split, proof
        self._step_of = np.zeros(
            len(split.keys), np.int64
        )  # in which step of this epoch a sample was used; 0: none
        self._epoch = 0

    def check(self, start: Start, step: int, lines: list[tuple[int, Line]]) -> None:
        """What the ranks wrote down for a step."""
        at, proof, split = start.position, self._proof, self._split
        number, position = divmod(step - 1, at.steps_in_epoch)
        if number != self._epoch:
            self._step_of[:], self._epoch = 0, number
        numbers = range(position * at.global_batch, (position + 1) * at.global_batch)
        used: dict[int, str] = {}
        for rank, line in lines:
            where = f"step {step}, rank {rank}"
            if line["epoch"] != number:
                proof.findings.append(f"{where}: on record in epoch {line['epoch']}, it belongs to {number}")
            if len(line["numbers"]) != len(line["keys"]):
                counts = f"{len(line['numbers'])} numbers and {len(line['keys'])} keys"
                proof.findings.append(f"{where}: {counts} on record")
            for n, key in zip(line["numbers"], line["keys"], strict=False):
                if n in used or n not in numbers or n % start.ranks != rank:
                    proof.findings.append(f"{where}: {key} used as sample {n}, which is not this rank's next")
                used[n] = key
                self._count(step, key)
            proof.replaced += len(line["replaced"])
        order, heard = split.order(at.order, number), {rank for rank, _ in lines}
        for n in numbers:
            planned = split.keys[order[n]]
            if n not in used and n % start.ranks in heard:
                proof.findings.append(f"step {step}: sample {n}, {planned}, was not used")
            elif used.get(n, planned) != planned:
                proof.findings.append(
                    f"step {step}: sample {n} is {planned} by the plan, but {used[n]} was used"
                )
        if position == at.steps_in_epoch - 1:
            proof.left_out += len(split.keys) - numbers.stop

    def _count(self, step: int, key: str) -> None:
        place = self._split.place.get(key)
        if place is None:
            self._proof.findings.append(f"step {step}: {key} was used, which is no sample of the split")
            return
        if before := self._step_of[place]:
            self._proof.findings.append(
                f"step {step}: {key} was used again in epoch {self._epoch}, first in step {before}"
            )
        else:
            self._proof.samples += 1
        self._step_of[place] = step


def _steps(
    folder: str, start: Start, kept: int, superseded: bool, findings: list[str]
) -> Iterator[tuple[int, list[tuple[int, Line]]]]:
    """Every step after `start` with what each rank wrote down for it, as (rank, line).

    Up to step `kept`, which a checkpoint followed, and where a later step is there, each rank's line must be there
    too. Beyond, nothing counts of a start that is `superseded` by a later one; of the last one, the record ends where
    the first rank's log ends: the run was killed, or goes on.
    """
    urls = [audit_log.log_url(folder, start.position.done, rank) for rank in range(start.ranks)]
    logs = [_Log(url) for url in urls]
    step = start.position.done + 1
    while True:
        if superseded and step > kept:
            return
        found = [log.take(step) for log in logs]
        if step > kept and any(not lines and log.ended for lines, log in zip(found, logs, strict=True)):
            return
        for rank, lines in enumerate(found):
            if not lines:
                findings.append(f"step {step}, rank {rank}: nothing on record in {urls[rank]}")
        yield step, [(rank, line) for rank, lines in enumerate(found) for line in lines]
        step += 1


class _Log:
    """One rank's log, read step by step."""

    def __init__(self, url: str) -> None:
        self._lines = audit_log.lines(url)
        self._next = next(self._lines, None)

    @property
    def ended(self) -> bool:
        """Whether no line is left."""
        return self._next is None

    def take(self, step: int) -> list[Line]:
        """The lines of `step`; one, unless the log was changed."""
        taken = []
        while self._next is not None and self._next["step"] <= step:
            taken.append(self._next)
            self._next = next(self._lines, None)
        return taken


def _checkpointed(folder: str) -> int:
    """The step of the newest checkpoint: up to there everything must be on record."""
    url = storage.join(folder, "checkpoints", "latest.json")
    return int(json.loads(storage.read_bytes(url))["step"]) if storage.exists(url) else 0


def _check_validations(folder: str, proof: Proof) -> None:
    """Every evaluation scored every sample of its split once."""
    split: _Split | None = None
    for validation in audit_log.validations(folder):
        split = split or _Split(validation.split, validation.manifest)
        counts = Counter(validation.keys)
        where = f"evaluation after step {validation.step}"
        for key in split.keys:
            if counts[key] != 1:
                proof.findings.append(f"{where}: {key} was scored {counts[key]} times")
        proof.findings += [
            f"{where}: {key} was scored, which is no sample of {validation.split}"
            for key in counts
            if key not in split.place
        ]
        proof.evaluations += 1

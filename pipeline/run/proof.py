"""The proof that a run used the planned samples, or where it did not; `pipeline.audit` is the program.

What the ranks wrote down (`audit_log`) is held against the plan, which is worked out anew from the manifests and
the recorded seed, window, lanes and weights; and, apart from any plan, every key of an epoch is counted. All starts
must be of one run, which is the one that the folder's configuration describes. Of the logs one step is in memory at a
time, of the splits their keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.data import corrupt
from pipeline.order import plan
from pipeline.order.position import has_window, mix_changes, window_of
from pipeline.run import audit_log, proof_evaluations
from pipeline.run.audit_log import Start
from pipeline.run.audit_record import MOST, Record, Used
from pipeline.run.planned import Samples, Split
from sharding.errors import UserError
from sharding.format import manifest


@dataclass(frozen=True)
class Uses:
    """How often samples of a set were used: `used` in all, each of its `samples` `least` to `most` times."""

    url: str
    samples: int
    used: int
    least: int
    most: int


@dataclass
class Proof:
    """What was found: `steps` are those on record from the first on, `findings` what is not as it should be.

    `to_evaluate`: the last step, if an evaluation is due after it that is not on record: the run was stopped before
    its end. `old_starts`: how many were recorded without their settings, so that neither evaluations nor replaced
    samples can be held against these. `sets`: those of a mixture.
    """

    findings: list[str] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    steps: int = 0
    steps_in_epoch: int = 0
    samples: int = 0
    left_out: int = 0
    replaced: int = 0
    evaluations: int = 0
    to_evaluate: int | None = None
    old_starts: int = 0
    sets: list[Uses] = field(default_factory=list)


def prove(folder: str) -> Proof:
    """The proof for the run in `folder`. `UserError` where nothing is on record, or the shards are others now."""
    proof = Proof()
    record = Record(folder, proof.findings)
    starts = record.starts()
    if proof.findings:  # what a start that cannot be read began is anyone's guess
        return proof
    _check_kind(starts, record, proof.findings)
    try:
        _check(record, starts, proof)
    except UserError:
        if not proof.findings:
            raise
    return proof


def _check(record: Record, starts: list[Start], proof: Proof) -> None:
    first = starts[0]
    samples = _samples_of(starts)
    batch = first.position.global_batch
    proof.steps_in_epoch = plan.steps_in_epoch(samples.in_an_epoch, batch)
    for start in starts:
        if (steps := start.position.steps_in_epoch) != proof.steps_in_epoch:
            proof.findings.append(
                f"{_named(start)}: epochs of {steps} steps on record; {samples.in_an_epoch} samples in batches of "
                f"{batch} make {proof.steps_in_epoch}"
            )
        if batch % start.ranks:
            proof.findings.append(f"{_named(start)}: {start.ranks} ranks cannot share batches of {batch}")
    if not proof.steps_in_epoch or any(batch % start.ranks for start in starts):
        return
    proof.restarts = [start.position.done for start in starts[1:]]
    proof.old_starts = sum(start.settings is None for start in starts)
    proof.steps = first.position.done
    if proof.steps:
        proof.findings.append(f"steps 1 to {proof.steps}: not on record; run.audit was off then")
    epoch = _Epoch(samples, first.position.order, batch, proof)
    kept = [*proof.restarts, record.checkpointed()]
    for i, start in enumerate(starts):
        # What an earlier start did after the step where a later one began was done again.
        for step, lines in _steps(record, start, kept[i], i < len(proof.restarts), proof.findings):
            epoch.check(start, step, lines, step <= kept[i])
            proof.steps = step
            if len(proof.findings) >= MOST:
                return
    proof.sets = epoch.uses()
    found = proof_evaluations.check(record, starts, proof.steps_in_epoch, proof.steps, proof.findings)
    proof.evaluations, proof.to_evaluate = found.evaluations, found.to_come


def _named(start: Start) -> str:
    return f"start behind step {start.position.done}"


def _check_kind(starts: list[Start], record: Record, findings: list[str]) -> None:
    """All starts are of one run, the configured one. What must never change is what a resume refuses to change."""
    first = starts[0]
    for start in starts[1:]:
        for name in ("manifest", "seed", "lanes", "window", "global_batch"):
            now, before = getattr(start.position, name), getattr(first.position, name)
            if now != before:
                findings.append(f"{_named(start)}: {name} {now}, the run began with {before}")
        for what, before, now in mix_changes(first.position, start.position):
            findings.append(f"{_named(start)}: {what} is {now}, the run began with {before}")
        if not _is_same_split(start.split, first):
            findings.append(f"{_named(start)}: trained on {start.split}, the run began with {first.split}")
    if all(start.settings and start.settings.validation is None for start in starts):
        return  # a stream's record
    tree = record.configuration()
    for section, key in (("run", "seed"), ("data", "lanes"), ("data", "window"), ("optim", "global_batch")):
        configured = tree.get(section, {}).get(key)  # None: of lanes, that they follow from the first start
        recorded = window_of(first.position) if key == "window" else getattr(first.position, key)
        if configured is None or configured == recorded:
            continue
        if key != "window" or not isinstance(configured, int) or not has_window(first.position, configured):
            findings.append(
                f"{record.folder}/{record.CONFIGURATION}: {section}.{key} is {configured!r}, on record is {recorded}"
            )
    mix, weights = tree.get("data", {}).get("mix", {}), [share.weight for share in first.position.mix]
    if not isinstance(mix, dict) or sorted(map(str, mix.values())) != sorted(map(str, weights)):
        findings.append(
            f"{record.folder}/{record.CONFIGURATION}: data.mix is {mix!r}, on record are sets of weights {weights}"
        )


def _is_same_split(url: str, first: Start) -> bool:
    """Whether `url` is the first start's split, there or where its shards were moved to meanwhile."""
    if url == first.split:
        return True
    if url.rpartition("/")[2] != first.split.rpartition("/")[2]:
        return False
    try:
        return manifest.load(url).sha256 == first.position.manifest
    except UserError:  # it lay there
        return True


def _samples_of(starts: list[Start]) -> Samples:
    """What the run is made of, from where it lay last."""
    at = starts[0].position
    mixed = []
    for share in at.mix:
        urls = [o.split for start in starts[::-1] for o in start.position.mix if o.manifest == share.manifest]
        mixed.append((_split_at(urls, share.manifest), share.weight))
    return Samples(_split_at([start.split for start in starts[::-1]], at.manifest), mixed)


def _split_at(urls: list[str], sha256: str) -> Split:
    """The split with this manifest, from the first of these places where it lies."""
    *others, last = dict.fromkeys(urls)
    for url in others:
        try:
            return Split(url, sha256)
        except UserError:
            continue
    return Split(last, sha256)


class _Epoch:
    """Checks the steps of one epoch after another, and counts each one's samples."""

    def __init__(self, samples: Samples, order: plan.Order, batch: int, proof: Proof) -> None:
        self._samples, self._order, self._batch, self._proof = samples, order, batch, proof
        # in which step of this epoch each sample was used last (0: none), how often, how often it is to be; and of all
        self._step_of, self._times, self._planned, self._uses = np.zeros((4, len(samples.keys)), np.int64)
        self._epoch, self._replaced = -1, 0

    def check(self, start: Start, step: int, lines: list[tuple[int, Used]], kept: bool) -> None:
        """What the ranks wrote down for a step; `kept`: a checkpoint followed."""
        proof, samples = self._proof, self._samples
        number, position = divmod(step - 1, proof.steps_in_epoch)
        if number != self._epoch:
            self._step_of[:], self._times[:], self._replaced = 0, 0, 0
            self._planned[:], self._epoch = samples.times(self._order, number), number
        if start.settings and number == start.settings.epochs and not position:
            proof.findings.append(f"step {step}: used behind the last of {number} epochs")
        numbers = range(position * self._batch, (position + 1) * self._batch)
        used: dict[int, str] = {}
        for rank, line in lines:
            where = f"step {step}, rank {rank}"
            if line.epoch != number:
                proof.findings.append(f"{where}: on record in epoch {line.epoch}, it belongs to {number}")
            if len(line.numbers) != len(line.keys):
                counts = f"{len(line.numbers)} numbers and {len(line.keys)} keys"
                proof.findings.append(f"{where}: {counts} on record")
            for n, key in zip(line.numbers, line.keys, strict=False):
                if n in used or n not in numbers or n % start.ranks != rank:
                    proof.findings.append(f"{where}: {key} used as sample {n}, which is not this rank's next")
                used[n] = key
                self._count(step, key)
            self._count_replaced(where, line)
        order, heard = samples.order(self._order, number), {rank for rank, _ in lines}
        for n in numbers:
            planned = samples.keys[order[n]]
            if n not in used and n % start.ranks in heard:
                proof.findings.append(f"step {step}: sample {n}, {planned}, was not used")
            elif used.get(n, planned) != planned:
                proof.findings.append(
                    f"step {step}: sample {n} is {planned} by the plan, but {used[n]} was used"
                )
        if kept:
            self._check_budget(start, step, sum(len(line.replaced) for _, line in lines))
        if position == proof.steps_in_epoch - 1:
            proof.left_out += samples.in_an_epoch - numbers.stop

    def uses(self) -> list[Uses]:
        """How often samples of each set of a mixture were used, counted apart from the plan."""
        splits, found, begin = self._samples.splits, [], 0
        for split in splits if len(splits) > 1 else []:
            uses = self._uses[begin : begin + len(split.keys)]
            found.append(Uses(split.url, len(uses), int(uses.sum()), int(uses.min()), int(uses.max())))
            begin += len(uses)
        return found

    def _count(self, step: int, key: str) -> None:
        place = self._samples.place.get(key)
        if place is None:
            self._proof.findings.append(f"step {step}: {key} was used, which is no sample of the split")
            return
        self._times[place] += 1
        self._uses[place] += 1
        if self._times[place] <= self._planned[place]:
            self._proof.samples += 1
        elif before := self._step_of[place]:
            self._proof.findings.append(
                f"step {step}: {key} was used again in epoch {self._epoch}, first in step {before}"
            )
        else:
            self._proof.findings.append(
                f"step {step}: {key} was used, which is not among the samples of epoch {self._epoch}"
            )
        self._step_of[place] = step

    def _count_replaced(self, where: str, line: Used) -> None:
        self._proof.replaced += len(line.replaced)
        planned = set(line.keys)
        for key in line.replaced:
            if key not in planned:
                self._proof.findings.append(
                    f"{where}: {key} on record as replaced, which was not this step's, or twice"
                )
            planned.discard(key)

    def _check_budget(self, start: Start, step: int, replaced: int) -> None:
        """The ranks sum up what they replaced before each checkpoint: what came before one is within the budget."""
        before, self._replaced = self._replaced, self._replaced + replaced
        if start.settings is None:
            return
        allowed = corrupt.share_of(start.settings.corrupt_budget, self._samples.in_an_epoch)
        if before <= allowed < self._replaced:
            self._proof.findings.append(
                f"step {step}: {self._replaced} samples replaced in epoch {self._epoch}, of which data.corrupt and "
                f"data.corrupt_budget allowed {allowed}"
            )


def _steps(
    record: Record, start: Start, kept: int, superseded: bool, findings: list[str]
) -> Iterator[tuple[int, list[tuple[int, Used]]]]:
    """Every step after `start` with what each rank wrote down for it, as (rank, line).

    Up to step `kept`, which a checkpoint followed, and where a later step is there, each rank's line must be there
    too. Beyond, nothing counts of a start that is `superseded` by a later one; of the last one, the record ends where
    the first rank's log ends: the run was killed, or goes on.
    """
    logs = [_Log(record.lines(start, rank), findings) for rank in range(start.ranks)]
    step = start.position.done + 1
    while True:
        if superseded and step > kept:
            return
        found = [log.take(step) for log in logs]
        if step > kept and any(not lines and log.ended for lines, log in zip(found, logs, strict=True)):
            return
        for rank, lines in enumerate(found):
            if not lines:
                url = audit_log.log_url(record.folder, start.position.done, rank)
                findings.append(f"step {step}, rank {rank}: nothing on record in {url}")
        yield step, [(rank, line) for rank, lines in enumerate(found) for line in lines]
        step += 1


class _Log:
    """One rank's log, read step by step."""

    def __init__(self, lines: Iterator[tuple[str, Used]], findings: list[str]) -> None:
        self._lines, self._findings = lines, findings
        self._next = next(lines, None)

    @property
    def ended(self) -> bool:
        """Whether no line is left."""
        return self._next is None

    def take(self, step: int) -> list[Used]:
        """The lines of `step`; one, unless the log was changed."""
        taken = []
        while self._next is not None and self._next[1].step <= step:
            place, line = self._next
            if line.step < step:
                self._findings.append(f"{place}: of step {line.step}, where step {step} should be")
            else:
                taken.append(line)
            self._next = next(self._lines, None)
        return taken

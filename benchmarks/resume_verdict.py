"""What became of the samples of a run that was killed and went on: pure, for `benchmarks.resume_conformance`."""

from collections import Counter
from dataclasses import dataclass

Steps = list[list[int]]
"""The ids of each global batch; in which order a batch has them does not matter."""
Run = dict[int, Steps]
"""The steps of each epoch."""


@dataclass(frozen=True)
class Outcome:
    """Of the epochs of a run: samples `lost` and `repeated`; `same`: each step has the samples that it had."""

    lost: int
    repeated: int
    same: bool

    def __str__(self) -> str:
        if self.same:
            return "exact"
        parts = [f"{self.lost} lost"] * bool(self.lost) + [f"{self.repeated} repeated"] * bool(self.repeated)
        return ", ".join(parts) or "other order"


def outcome(undisturbed: Steps, taken: Steps) -> Outcome:
    """Of one epoch, by the steps that an undisturbed run and this one took in it."""
    wanted, got = _counted(undisturbed), _counted(taken)
    same = [sorted(ids) for ids in undisturbed] == [sorted(ids) for ids in taken]
    return Outcome((wanted - got).total(), (got - wanted).total(), same)


def judged(undisturbed: Run, before: Run, resumed: Run) -> tuple[Outcome, Outcome | None]:
    """The epoch in which a run was killed, and the later ones together; None where there is no later one.

    `before`: its steps up to the one after which its state was kept; `resumed`: those of the run that went on. Where
    the state was kept at an epoch's end, the epoch judged is the next one; loaders differ in whether the pass that
    follows a resume is then the empty rest of the old epoch or the new one, and either is right.
    """
    at = max(before)
    if len(before[at]) == len(undisturbed[at]) and not outcome(undisturbed[at], resumed.get(at, [])).same:
        passes = [resumed[label] for label in sorted(resumed)]
        at += 1
        before, resumed = {}, dict(enumerate(passes, at))
    first = outcome(undisturbed[at], before.get(at, []) + resumed.get(at, []))
    later = [outcome(undisturbed[epoch], resumed.get(epoch, [])) for epoch in undisturbed if epoch > at]
    if not later:
        return first, None
    together = Outcome(
        sum(epoch.lost for epoch in later),
        sum(epoch.repeated for epoch in later),
        all(epoch.same for epoch in later),
    )
    return first, together


def together(ranks: list[list[tuple[int, int, list[int]]]]) -> Run:
    """The run that ranks' records (epoch, step from 1 on, ids) make up."""
    steps: dict[tuple[int, int], list[int]] = {}
    for records in ranks:
        for epoch, step, ids in records:
            steps.setdefault((epoch, step), []).extend(ids)
    run: Run = {}
    for epoch, step in sorted(steps):
        run.setdefault(epoch, []).append(steps[epoch, step])
    return run


def _counted(steps: Steps) -> Counter[int]:
    return Counter(number for ids in steps for number in ids)

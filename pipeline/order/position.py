"""Where a run is in the order of samples: what a checkpoint keeps of the plan, and what must not change."""

import itertools
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

from pipeline.config import WINDOW, Config
from pipeline.order import plan
from sharding.errors import UserError
from sharding.format.manifest import Manifest

_NAMED = 4
_LARGEST_BATCH = 1 << 16


@dataclass(frozen=True)
class Share:
    """Another set of a mixture: URL and SHA-256 of its split's manifest, its weight, and the samples of an epoch."""

    split: str
    manifest: str
    weight: float
    samples: int


@dataclass(frozen=True)
class Position:
    """After `done` steps of a run whose order of samples follows from the other fields."""

    manifest: str
    "SHA-256 of the training split's manifest."
    seed: int
    lanes: int
    window: int
    "Of each lane."
    global_batch: int
    steps_in_epoch: int
    done: int = 0
    run_window: int | None = None
    "`data.window` at the start; None: that of a run begun when it was given for each lane."
    mix: tuple[Share, ...] = ()
    "What comes among the training split's samples (`pipeline.order.mixture`)."

    @property
    def epoch(self) -> int:
        """The epoch of the next step."""
        return self.done // self.steps_in_epoch

    @property
    def step(self) -> int:
        """The next step's number in its epoch."""
        return self.done % self.steps_in_epoch

    @property
    def order(self) -> plan.Order:
        """The order of samples."""
        return plan.Order(self.seed, self.lanes, self.window)

    def samples_of(self, train_set: Manifest) -> int:
        """The samples of an epoch: those of `train_set`, and what is mixed with them."""
        return epoch_samples(train_set, self.mix)

    def after(self, steps: int) -> "Position":
        """The position after `steps` steps of the run."""
        return replace(self, done=steps)

    def plain(self) -> dict[str, Any]:
        """The fields as plain values; without a mixture none is named."""
        values = asdict(self)
        mix = values.pop("mix")
        return {**values, "mix": list(mix)} if mix else values

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint, epoch and step included for readers."""
        return {**self.plain(), "epoch": self.epoch, "step": self.step}


def of_state(state: dict[str, Any]) -> Position:
    """The position that `to_state` made `state` of; what an earlier version did not know has its default."""
    known = {field.name: state[field.name] for field in fields(Position) if field.name in state}
    return Position(**{**known, "mix": tuple(Share(**share) for share in known.get("mix", ()))})


class Counted(Protocol):
    """A set of a mixture."""

    @property
    def samples(self) -> int:
        """How many of its samples come in an epoch."""
        ...


def epoch_samples(train_set: Manifest, mix: Iterable[Counted]) -> int:
    """The samples of an epoch: those of `train_set`, and what comes among them."""
    return train_set.samples + sum(one.samples for one in mix)


def first(config: Config, train_set: Manifest, ranks: int, mix: tuple[Share, ...] = ()) -> Position:
    """The start of a run; `UserError` where the batch fits neither the ranks nor the samples of an epoch.

    `mix`: what comes among the samples of `train_set`.
    """
    batch = config.optim.global_batch
    check_shares(batch, ranks)
    if config.augment.mixup:
        check_pairs(batch, ranks)
    samples = epoch_samples(train_set, mix)
    steps = plan.steps_in_epoch(samples, batch)
    if not steps:
        with_others = " and data.mix" if mix else ""
        raise UserError(
            f"optim.global_batch: {batch} is more than the {samples} samples of {train_set.root}{with_others}"
        )
    lanes = config.data.lanes or plan.default_lanes(ranks * max(config.data.workers, 1), batch, samples)
    window = plan.lane_window(config.data.window, lanes)
    own = config.data.window
    return Position(train_set.sha256, config.run.seed, lanes, window, batch, steps, run_window=own, mix=mix)


def check_shares(batch: int, ranks: int, name: str = "optim.global_batch") -> None:
    """`UserError` where the clips of a global batch cannot be shared equally; it tells the nearest sizes that can."""
    if batch % ranks:
        below = batch // ranks * ranks
        nearest = " or ".join(str(size) for size in (below, below + ranks) if size)
        raise UserError(
            f"{name}: {batch} clips cannot be shared equally by {ranks} ranks; the nearest that can: {nearest}"
        )


def check_sizes(config: Config, sizes: Collection[int]) -> None:
    """`UserError` where a run whose hosts come and go may have a number of ranks that cannot share the global batch."""
    batch, of_each = config.optim.global_batch, 2 if config.augment.mixup else 1
    unfit = (size for size in sizes if batch % (of_each * size))
    named = list(itertools.islice(unfit, _NAMED))
    if named:
        pairs = " in pairs (augment.mixup)" if config.augment.mixup else ""
        more = " or more" if next(unfit, None) else ""
        raise UserError(
            f"optim.global_batch: {batch} clips cannot be shared equally{pairs} by {' or '.join(map(str, named))}"
            f"{more} ranks, which the run may come to have as hosts come and go; {_sizes_fit(of_each, sizes)}"
        )


def _sizes_fit(of_each: int, sizes: Iterable[int]) -> str:
    """What helps where a global batch does not fit all `sizes`: another one, if there is one of a usual size."""
    least = of_each
    for size in sizes:
        least = math.lcm(least, of_each * size)
        if least > _LARGEST_BATCH:
            return "no batch of a usual size fits all of these: let fewer numbers of hosts be possible"
    return f"choose a multiple of {least}"


def check_pairs(batch: int, ranks: int) -> None:
    """`UserError` where a pair of mixup (`pipeline.augmentation.mixing`) would be divided between ranks."""
    if batch % (2 * ranks):
        raise UserError(
            f"augment.mixup: {batch // ranks} videos a step and rank are no pairs; choose an "
            f"optim.global_batch that {2 * ranks} divides, fewer ranks, or augment.mixup=0"
        )


def resumed(state: dict[str, Any], fresh: Position, folder: str, lanes_given: bool) -> Position:
    """The position kept in checkpoint `state`; `UserError` where the run would go on in another order.

    Lanes that the configuration does not give come from the checkpoint: by default they follow from the number of
    ranks, which may change from start to start. So does each lane's window.
    """
    kept = of_state(state)
    checked: list[tuple[str, float | str, float | str]] = [
        ("the shards under data.root", kept.manifest, fresh.manifest),
        ("run.seed", kept.seed, fresh.seed),
        ("optim.global_batch", kept.global_batch, fresh.global_batch),
    ]
    if lanes_given:
        checked.append(("data.lanes", kept.lanes, fresh.lanes))
    if fresh.run_window is not None and not has_window(kept, fresh.run_window):
        checked.append(("data.window", window_of(kept), fresh.run_window))
    checked += mix_changes(kept, fresh)
    for setting, before, now in checked:
        if before != now:
            raise UserError(
                f"{folder}: {setting} changed since this run began (from {before} to {now}); use another run.folder "
                "to start anew"
            )
    return replace(kept, mix=fresh.mix)  # the sets may lie elsewhere by now


def mix_changes(before: Position, now: Position) -> list[tuple[str, float | str, float | str]]:
    """Each mixed set that is another: what of it, as it was and as it is now. One that is not there has weight 0."""
    then, here = ({share.manifest: share.weight for share in at.mix} for at in (before, now))
    lies = {share.split: share.manifest for share in now.mix}
    found: list[tuple[str, float | str, float | str]] = []
    for share in before.mix:
        if share.manifest not in here and lies.get(share.split, share.manifest) not in then:
            found.append((f"the shards of {share.split} in the mixture", share.manifest, lies[share.split]))
        elif (weight := here.get(share.manifest, 0)) != share.weight:
            found.append((f"the weight of {share.split} in the mixture", share.weight, weight))
    new = (share for share in now.mix if share.manifest not in then)
    return found + [(f"the weight of {share.split} in the mixture", 0, share.weight) for share in new]


def has_window(at: Position, window: int) -> bool:
    """Whether `data.window`, as a configuration has it, is what the run at `at` began with.

    Of a run begun when the setting was given for each lane, it may be left at the default of today, stand there as it
    did then, or be what comes to the same today.
    """
    if at.run_window is not None:
        return window == at.run_window and plan.lane_window(window, at.lanes) == at.window
    return window in (WINDOW, at.window) or plan.lane_window(window, at.lanes) == at.window


def window_of(at: Position) -> int | str:
    """`data.window` as the run at `at` began with it, for a user."""
    return at.run_window or f"{at.window} a lane"

"""The position of a stream as plain values, and what must be the same where it is loaded."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from pipeline.order import plan, position
from pipeline.order.position import Position, Share, check_shares, has_window, mix_changes, window_of
from sharding.errors import UserError
from sharding.format.manifest import Manifest


def first(
    split: Manifest,
    global_batch: int,
    seed: int,
    lanes: int,
    window: int,
    ranks: int,
    drop_last: bool,
    mix: tuple[Share, ...] = (),
) -> Position:
    """The start of a stream; `UserError` where the batch fits neither the ranks nor the samples of an epoch."""
    check_shares(global_batch, ranks, "global_batch")
    samples = position.epoch_samples(split, mix)
    steps = plan.steps_in_epoch(samples, global_batch, drop_last)
    if not steps:
        its = "the mixture's" if mix else "its"
        raise UserError(f"{split.root}: global_batch {global_batch} is more than {its} {samples} samples")
    own = plan.lane_window(window, lanes)
    return Position(split.sha256, seed, lanes, own, global_batch, steps, run_window=window, mix=mix)


def loaded(state: dict[str, Any], fresh: Position, root: str, lanes_given: bool) -> Position:
    """The position in `state`; `UserError` where the stream that would begin at `fresh` has another order of samples.

    Lanes that are not given come from the state: by default they follow from the number of ranks and workers.
    """
    needed = [field.name for field in fields(Position) if field.default is MISSING]
    missing = [name for name in needed if name not in state] if isinstance(state, Mapping) else needed
    if missing:
        raise UserError(
            f"not the state of a stream: {', '.join(missing)} are missing; give what state_dict() returned"
        )
    kept = position.of_state(state)
    if kept.manifest != fresh.manifest:
        raise UserError(
            f"{root}: the state is of other shards than these; start anew, or give the shards of then"
        )
    for what, before, now in mix_changes(kept, fresh):
        raise UserError(f"{root}: {what} was {before} when the state was made, and is {now}; it must stay")
    names = ["seed", "global_batch", "steps_in_epoch", *(["lanes"] if lanes_given else [])]
    for name in names:
        before, now = getattr(kept, name), getattr(fresh, name)
        if before != now:
            raise UserError(
                f"{root}: {name} was {before} when the state was made, and is {now}; it must stay"
            )
    if fresh.run_window is not None and not has_window(kept, fresh.run_window):
        raise UserError(
            f"{root}: window was {window_of(kept)} when the state was made, and is {fresh.run_window}; it must stay"
        )
    return replace(kept, mix=fresh.mix)  # the sets may lie elsewhere by now

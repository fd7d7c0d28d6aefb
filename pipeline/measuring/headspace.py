"""What a perfect loader would give: the same training on batches that are there already, and on the loader's."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice

import torch

from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.batch import Batch
from pipeline.order import position
from pipeline.ranks.distributed import World
from pipeline.training.feed import train_batches
from pipeline.training.learner import Learner
from pipeline.training.network import build_model

_WARM_UP = 2
_KEPT = 4  # batches: enough that none is still warm in the processor's caches


@dataclass(frozen=True)
class Headspace:
    """Clips/s of all ranks together: with batches kept in memory, and with the loader's; what it was made of."""

    setting: str
    kept: float
    loaded: float
    waited: float
    "The largest share of the time, of any rank, that was spent waiting for the loader."

    @property
    def gain(self) -> float:
        """How many times faster training would be with a loader that is never waited for."""
        return self.kept / self.loaded

    def lines(self) -> list[str]:
        """A short report; the last line is the conclusion."""
        told = (
            "the loader is no limit: a faster one would give nothing"
            if self.gain < 1.03
            else f"a perfect loader would train {self.gain:.2f} times as fast; "
            "`python -m pipeline.bench loader` says what holds this one back"
        )
        return [
            self.setting,
            f"batches kept in memory: {self.kept:.1f} clips/s",
            f"batches of the loader:  {self.loaded:.1f} clips/s, waiting for data {self.waited:.0%} of the time",
            told,
        ]


def measure_headspace(config: Config, world: World, steps: int) -> Headspace:
    """Train for `steps` steps on some batches over and over, then for as many on the loader's; every rank must call it.

    Both are of the run's own clips, on its device, augmented. No loader works beside the first. There are as many
    epochs as it takes.
    """
    train_set = splits.load(config.data.root, config.data.train, "data.train")
    splits.check_input(train_set, config.model)
    mixed = splits.load_mix(config.data, train_set)
    at = position.first(config, train_set, world.ranks, tuple(one.share for one in mixed))
    wanted = _WARM_UP + steps
    epochs = config.optim.model_copy(update={"epochs": math.ceil(wanted / at.steps_in_epoch)})
    config = config.model_copy(update={"optim": epochs})
    learner = Learner(build_model(config, len(train_set.classes)), config, world)

    def made() -> Iterator[Batch]:
        return train_batches(config, train_set, at, world, mixed)

    # Its loader ends with this line.
    some = [replace(batch, clips=batch.clips.clone()) for batch in islice(made(), min(_KEPT, wanted))]
    kept_s, _ = _trained(learner, cycle(some), steps, config, world)
    loaded_s, waited_s = _trained(learner, made(), steps, config, world)
    clips = at.global_batch * config.data.repeats * steps
    model, data = config.model, config.data
    return Headspace(
        f"{train_set.root}: depth {model.depth}, clips of {model.num_frames} frames, {data.size}x{data.size}; "
        f"{world.ranks} ranks with {data.workers} loader processes each, {config.run.precision}, {steps} steps",
        clips / kept_s,
        clips / loaded_s,
        waited_s / loaded_s,
    )


def _trained(
    learner: Learner, batches: Iterator[Batch], steps: int, config: Config, world: World
) -> tuple[float, float]:
    """Seconds of `steps` steps after a warm-up, and the most of them that any rank waited for batches."""
    start = waited = 0.0
    for number in range(_WARM_UP + steps):
        if number == _WARM_UP:
            _settle(world)
            start, waited = time.perf_counter(), 0.0
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        learner.step(batch.clips, batch.labels, number, config.optim.lr, batch.mixed)
    _settle(world)
    figures = torch.tensor([time.perf_counter() - start, waited], device=world.device)
    seconds, most = world.largest(figures).tolist()
    return seconds, most


def _settle(world: World) -> None:
    """Until every rank's device has done all that it was given."""
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    world.wait()

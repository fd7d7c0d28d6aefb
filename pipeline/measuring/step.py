"""How fast this machine trains on clips that cost nothing to make."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from pipeline.config import Config
from pipeline.data.stream import empty_clips
from pipeline.order import position
from pipeline.ranks.distributed import World
from pipeline.training.learner import Learner
from pipeline.training.network import build_model
from sharding.errors import UserError

CLASSES = 174  # Something-Something v2's
_WARM_UP = 2


@dataclass(frozen=True)
class StepFigures:
    """Seconds of each part of a training step, on average, and the peak memory of this process in bytes."""

    setting: str
    clips: int
    "A step, on all ranks together."
    parts: dict[str, float]
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Clips/s on all ranks together."""
        return self.clips / sum(self.parts.values())

    def lines(self) -> list[str]:
        """A short report."""
        total = sum(self.parts.values())
        return [
            self.setting,
            f"{self.rate:.1f} clips/s, {1000 * total:.0f} ms a step, peak memory {self.peak_bytes / 2**20:.0f} MiB",
            *(
                f"  {part:<10} {1000 * seconds:9.2f} ms {seconds / total:5.0%}"
                for part, seconds in self.parts.items()
            ),
        ]


class _Marks:
    """Where in a step the device is: the time since the last mark belongs to the part that the mark ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.parts = dict.fromkeys(("input", "forward", "backward", "optimiser"), 0.0)
        self.start()

    def start(self) -> None:
        """The time until now belongs to no part."""
        self._last = self._now()

    def ends(self, part: str) -> Callable[..., None]:
        """A hook that ends `part`."""

        def hook(*_: Any, **__: Any) -> None:
            now = self._now()
            self.parts[part] += now - self._last
            self._last = now

        return hook

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def measure_step(config: Config, world: World, steps: int) -> StepFigures:
    """Train for `steps` steps on random clips, after a warm-up; every rank must call it.

    Parts: "input" copies the clips to the device and normalises them; "backward" includes the loss and the exchange of
    gradients. They are waited for one by one, which a real step does not do, so it is a little faster.
    """
    optim = config.optim
    position.check_shares(optim.global_batch, world.ranks)
    share = optim.global_batch * config.data.repeats // world.ranks
    learner = Learner(build_model(config, CLASSES), config, world)
    shape = (config.model.num_frames, config.model.in_channels, config.data.size, config.data.size)
    clips = empty_clips(share, shape, pin=world.device.type == "cuda")
    clips.random_(0, 256)
    labels = torch.zeros(share, dtype=torch.int64)
    marks = _Marks(world.device)
    hooks = [
        learner.model.register_forward_pre_hook(marks.ends("input")),
        learner.model.register_forward_hook(marks.ends("forward")),
        register_optimizer_step_pre_hook(marks.ends("backward")),
        register_optimizer_step_post_hook(marks.ends("optimiser")),
    ]
    try:
        for step in range(_WARM_UP + steps):
            if step == _WARM_UP:
                marks.parts = dict.fromkeys(marks.parts, 0.0)
            marks.start()
            learner.step(clips, labels, step, optim.lr)
    except torch.OutOfMemoryError:
        raise UserError(
            f"optim.global_batch: {share} clips a rank do not fit the memory of {world.device}; take fewer"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "CPU"
    model, data = config.model, config.data
    return StepFigures(
        setting=f"depth {model.depth}, clips of {model.num_frames} frames, {data.size}x{data.size}, {share} a rank; "
        f"{world.ranks} ranks, {device}, {config.run.precision}",
        clips=optim.global_batch * config.data.repeats,
        parts={part: seconds / steps for part, seconds in marks.parts.items()},
        peak_bytes=_peak_bytes(world.device),
    )


def _peak_bytes(device: torch.device) -> int:
    """What the allocator handed out at most; on the CPU, the process's peak resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""The network with its optimiser: one training step, and the state that a checkpoint keeps of both."""

import inspect
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from blvnet import BLVNetTAM
from blvnet.tam import Form
from pipeline.config import Config
from pipeline.data.batch import Mixed
from pipeline.labels import loss as losses
from pipeline.pace.stages import ForwardClock
from pipeline.ranks.distributed import World
from pipeline.run.checkpoint import weights_of
from pipeline.training.buffers import Buffers
from pipeline.training.ema import Average
from pipeline.training.network import settle_blend
from pipeline.training.normalise import Normaliser
from pipeline.training.norms import RunningStatistics, frozen_norms
from pipeline.training.optim import Schedule, lay_out_momenta, set_learning_rate, sgd
from pipeline.training.precision import Precision
from sharding.errors import UserError


class Step(NamedTuple):
    """What a step says of itself, scalars that stay on the device.

    The mean loss, how many answers were right at once and among the first five, and the gradients' norm. Of several
    labels, a clip's answer is right that is one of them.
    """

    loss: Tensor
    top1: Tensor
    top5: Tensor
    grad_norm: Tensor


class Learner:
    """A model on this rank's device, trained together with the other ranks.

    `blend`: how a run that goes on has blended its frames. Raises `UserError` for settings that these ranks or this
    device cannot carry out.
    """

    def __init__(self, model: BLVNetTAM, config: Config, world: World, blend: Form | None = None) -> None:
        _check(config, world)
        self.model = model.to(world.device)
        self._blend = settle_blend(self.model, config, world, blend)
        if config.optim.sync_norm and world.ranks > 1:
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)  # type: ignore[no-untyped-call]
        self._buffers = Buffers(self.model)
        decay = config.optim.ema_decay
        self._average = Average(self.model, decay) if decay is not None else None
        self.schedule = Schedule(config.optim, config.data.repeats)
        # What is compiled shares its tensors with the model, whose names checkpoints keep.
        compiled = cast(nn.Module, torch.compile(self.model)) if config.run.compile else self.model
        static = config.optim.accumulate == 1  # the same gradients are exchanged in every backward pass
        self._parallel = _data_parallel(compiled, world.device, static) if world.ranks > 1 else compiled
        self._seed, self._rank, self._ranks = config.run.seed, world.rank, world.ranks
        self._optim = config.optim
        self._frozen = frozen_norms(self.model, config.optim)
        self._running = RunningStatistics(self.model, config.optim, world)
        self._normalise = Normaliser(world.device)
        self._precision = Precision(config.run.precision, world.device)
        self._optimizer = sgd(self.model, config.optim, world.device)
        self._device = world.device
        self.forward_clock = ForwardClock(world.device)

    @property
    def evaluated(self) -> BLVNetTAM:
        """The network that is evaluated: the average of the weights where one is kept."""
        return self._average.model if self._average else self.model

    def step(self, clips: Tensor, labels: Tensor, step: int, lr: float, mixed: Mixed | None = None) -> Step:
        """Train on one batch as step number `step` of the run.

        `clips`: uint8 (batch, frames, channels, size, size); `labels`: as `Batch` has them, of what most of a clip is;
        `mixed`: what it is beside that. Which loss is taken goes by the labels: see `pipeline.labels.loss.of`. An
        answer is right that is the clip's label. Nothing waits for the device. Weights, momenta, statistics and
        average stay as they are where the loss or a gradient is not finite on any rank; the loss is then not finite
        on every one.
        """
        self._train_mode()
        statistics = self._buffers.copied()
        # Dropout depends on the step and the rank alone, so a resumed run needs no random state.
        torch.manual_seed((self._seed * 1_000_003 + step) * self._ranks + self._rank)
        set_learning_rate(self._optimizer, lr)
        labels = labels.to(self._device, non_blocking=True)
        loss = torch.zeros((), device=self._device)
        right = torch.zeros(2, dtype=torch.int64, device=self._device)
        parts = self._optim.accumulate
        cut = zip(clips.tensor_split(parts), labels.tensor_split(parts), _split(mixed, parts), strict=True)
        for number, (some, theirs, blend) in enumerate(cut, start=1):
            before = self._running.before_batch()
            with self._exchange(number == parts):
                with self._precision.autocast(), self.forward_clock.running():
                    logits = self._parallel(self._normalise(some))
                    part = losses.of(logits, theirs, self._optim.label_smoothing, blend)
                part = part * (len(theirs) / len(labels))
                self._precision.backward(part)
            self._running.after_batch(before)
            loss += part.detach()
            right += losses.right(logits.detach(), theirs)
        self._running.after_step()
        unfit, norm = self._precision.update(self._optimizer, self._optim.clip_norm)
        self._buffers.put_back(statistics, unfit)
        if self._average:
            self._average.update(step, unfit)
        return Step(torch.where(unfit, math.nan, loss), right[0], right[1], norm)

    def state(self) -> dict[str, Any]:
        """Model, average, optimiser, schedule and scaler, to be saved."""
        return {
            "model": self.model.state_dict(),
            **({"ema": self._average.model.state_dict()} if self._average else {}),
            "schedule": self.schedule.state(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._precision.scaler.state_dict(),
            "blend": self._blend,
        }

    def restore(self, state: dict[str, Any], source: str) -> None:
        """Continue from the `state` in checkpoint `source`; `UserError` where an older program left parts of it out."""
        _check_parts(state, source)
        self.model.load_state_dict(state["model"])
        if self._average:  # which starts here if it was not kept before
            self._average.model.load_state_dict(weights_of(state))
        self.schedule.restore(state["schedule"])
        # The momenta alone: what the configuration sets may have changed since.
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
        lay_out_momenta(self._optimizer, self._optim, self._device)
        if state["scaler"]:  # empty unless the run was in fp16
            self._precision.scaler.load_state_dict(state["scaler"])

    def _train_mode(self) -> None:
        self._parallel.train()
        for norm in self._frozen:
            norm.eval()

    def _exchange(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged over the ranks once a step, in the backward pass of its last part."""
        if isinstance(self._parallel, DistributedDataParallel) and not last:
            return self._parallel.no_sync()
        return nullcontext()


def _split(mixed: Mixed | None, parts: int) -> list[losses.Blend | None]:
    if mixed is None:
        return [None] * parts
    return list(zip(mixed.labels.tensor_split(parts), mixed.shares.tensor_split(parts), strict=True))


def _check(config: Config, world: World) -> None:
    optim, share = config.optim, config.optim.global_batch * config.data.repeats // world.ranks
    if optim.accumulate > share:
        raise UserError(
            f"optim.accumulate: the {share} clips that a rank has a step cannot be cut in {optim.accumulate} parts"
        )
    if optim.sync_norm and world.ranks > 1 and world.device.type == "cpu":
        raise UserError(
            "optim.sync_norm: batch norms are synchronised on GPUs only; set it to false on the CPU"
        )


def _check_parts(state: dict[str, Any], source: str) -> None:
    """`UserError` unless `state` has every part, and momenta of the weights before those of norms and biases.

    They go by number. In one group they were in the network's order; two and four groups have this one (`sgd`).
    """
    missing = [part for part in ("model", "schedule", "optimizer", "scaler") if part not in state]
    if not missing and len(state["optimizer"]["param_groups"]) == 1:
        missing = ["momenta of weights apart from those of norms and biases"]
    if missing:
        raise UserError(
            f"{source}: written by an older version, without {', '.join(missing)}: a run cannot go on from it; "
            f"to start from its weights, use another run.folder and init.from={source}"
        )


def _data_parallel(model: nn.Module, device: torch.device, static: bool) -> DistributedDataParallel:
    """`model` with its gradients averaged over the ranks.

    Batch-norm statistics are no part of it: see `pipeline.training.norms`.
    """
    # The setting was renamed in torch 2.15.
    known = inspect.signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    device_ids = [device] if device.type == "cuda" else None
    settings: dict[str, Any] = {sync: False}
    return DistributedDataParallel(
        model, device_ids=device_ids, gradient_as_bucket_view=True, static_graph=static, **settings
    )

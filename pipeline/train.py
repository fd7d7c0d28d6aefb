"""The training program.

    torchrun --nproc-per-node 8 -m pipeline.train --config configs/blvnet-tam-50-f8x2-v2.yaml \
        data.root=s3://bucket/sthv2 run.folder=s3://bucket/runs/f8x2

Started again with the same run folder, it goes on from the newest complete checkpoint. Told to stop by SIGTERM or
SIGUSR1, it writes one first and ends with status 75.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data import corrupt
from pipeline.data.batch import Batch
from pipeline.data.cache import shards_of
from pipeline.data.clips import train_cutter
from pipeline.data.loader import batches
from pipeline.data.prefetch import on_device
from pipeline.data.stream import ClipStream, Passes
from pipeline.evaluation.predictions import predict
from pipeline.order import position
from pipeline.order.plan import readers_per_lane
from pipeline.order.position import Position
from pipeline.ranks.distributed import World, joined
from pipeline.ranks.preemption import STATUS, Preempted, Preemption
from pipeline.ranks.watchdog import Watchdog
from pipeline.run import audit_log
from pipeline.run.checkpoint import Checkpoints, Due, State, load
from pipeline.run.run_folder import RunFolder
from pipeline.training.initialise import initialise
from pipeline.training.learner import Learner, build_model
from pipeline.training.meter import Meter
from pipeline.training.statistics import recompute
from pipeline.training.utilisation import share_of_a_clip
from sharding import storage
from sharding.errors import one_line_errors
from sharding.format import manifest
from sharding.format.manifest import Manifest


def train(config: Config, world: World) -> None:
    """Train to the last epoch: from the start, or from the newest checkpoint of the run folder.

    Raises `Preempted`, after a last checkpoint, when a signal told any rank to stop.
    """
    optim, run = config.optim, config.run
    train_set = manifest.load(storage.join(config.data.root, config.data.train))
    validation_set = manifest.load(storage.join(config.data.root, config.data.validation))
    position.check_splits(train_set, validation_set)
    with Preemption(world) as preemption, Watchdog(run.timeout_s) as watchdog:
        learner, at, tally, to_evaluate = _ready(config, train_set, world)
        meter = Meter(world, share_of_a_clip(config, world.device))
        due = Due(run.checkpoint_steps, run.checkpoint_minutes)

        def pause() -> None:
            """Between two batches of an evaluation."""
            watchdog.beat()
            preemption.check()

        def evaluation() -> float | None:
            world.share_buffers(learner.evaluated)
            batch = at.global_batch // world.ranks
            predictions = predict(learner.evaluated, validation_set, config, world, batch, between=pause)
            top1 = folder.validation(at, validation_set, predictions)
            learner.schedule.evaluated(world.share(top1 or 0.0))
            return top1

        with RunFolder(config, at, world) as folder:
            if to_evaluate:  # what the run was stopped in
                top1 = evaluation()
                folder.save(at, _state(learner, at, tally, config, train_set), top1)
                meter.restart()
            for batch in meter.timed(_batches(config, train_set, at, world)):
                rate = learner.schedule.rate(batch.epoch, batch.step, at.steps_in_epoch)
                loss, correct = learner.step(batch.clips, batch.labels, at.done, rate)
                meter.add(loss, correct, len(batch.numbers), len(batch.replaced))
                at = at.after(at.done + 1)
                folder.used(at.done, batch)
                watchdog.beat()
                stopping, epoch_ends = preemption.agreed(), at.step == 0
                save = stopping or epoch_ends or due.by_steps(at.done)
                if save or at.done % run.log_steps == 0:
                    figures, unfit = meter.read()
                    folder.metrics({"step": at.done, "epoch": batch.epoch, "lr": rate, **figures}, unfit)
                    tally.add(batch.epoch, figures["replaced"])
                    save = world.share(save or due.by_time())
                top1, to_evaluate = None, epoch_ends and at.evaluates(run.evaluate_epochs, optim.epochs)
                if to_evaluate and not stopping:
                    try:
                        top1, to_evaluate = evaluation(), False
                    except Preempted:
                        stopping = True
                if save:
                    state = _state(learner, at, tally, config, train_set)
                    folder.save(at, {**state, "to_evaluate": to_evaluate}, top1)
                    due.saved()
                if stopping:
                    raise Preempted(f"stopped after {at.done} steps as told; start again to go on")
                if epoch_ends:
                    meter.restart()


def _ready(
    config: Config, train_set: Manifest, world: World
) -> tuple[Learner, Position, corrupt.Tally, bool]:
    """What a run starts with, or goes on with from its newest checkpoint; the last: whether to evaluate first."""
    run = config.run
    at = position.first(config, train_set, world.ranks)
    torch.manual_seed(run.seed)
    torch.use_deterministic_algorithms(run.deterministic)
    model = build_model(config, len(train_set.classes))
    # One process chooses, so that all go on from the same checkpoint or fail.
    chosen = world.share(Checkpoints(run.folder, run.keep).newest() if world.main else None)
    allowed = corrupt.allowed(config.data, train_set.samples)
    tally, to_evaluate = corrupt.Tally(allowed), False
    if chosen is None:
        initialise(model, config.init)
        if count := config.init.norm_batches:
            some = islice(_batches(config, train_set, at, world), count)
            recompute(model.to(world.device), (batch.clips for batch in some), config, world)
    learner = Learner(model, config, world)
    if chosen:
        saved = load(*chosen)
        position.check_model(saved["config"], config, run.folder)
        at = position.resumed(saved["position"], at, run.folder, lanes_given=config.data.lanes is not None)
        learner.restore(saved, chosen[0])
        tally, to_evaluate = corrupt.Tally(allowed, **saved.get("tally", {})), saved.get("to_evaluate", False)
    if world.main:
        _announce(config, at, world)
        audit_log.clear(run.folder, at.done)
        if run.audit:
            audit_log.begin(run.folder, audit_log.Start(at, world.ranks, train_set.root))
    world.wait()
    return learner, at, tally, to_evaluate


def _announce(config: Config, at: Position, world: World) -> None:
    """Write the resolved configuration, and say what a user should know before the first step."""
    storage.write_bytes(storage.join(config.run.folder, "config.yaml"), configuration.dump(config).encode())
    if at.done:
        print(f"resuming {config.run.folder} after {at.done} steps", flush=True)
    consumers = world.ranks * max(config.data.workers, 1)
    if (readers := readers_per_lane(consumers, at.lanes)) > 1:
        print(
            f"warning: {world.ranks} ranks x {config.data.workers} workers do not divide the run's {at.lanes} lanes: "
            f"the shards are read {readers} times an epoch",
            file=sys.stderr,
            flush=True,
        )


def _batches(config: Config, train_set: Manifest, at: Position, world: World) -> Iterator[Batch]:
    """This rank's batches from `at` to the end of the last epoch."""
    passes = Passes(at.global_batch, config.optim.epochs, first_epoch=at.epoch, first_step=at.step)
    cutter = train_cutter(config, train_set.classes)
    allowed = corrupt.allowed(config.data, train_set.samples)
    shards = shards_of(config.data, train_set)
    stream = ClipStream(train_set, cutter, at.order, passes, world.rank, world.ranks, shards, allowed)
    return on_device(batches(stream, config.data.workers, pin=world.device.type == "cuda"), world.device)


def _state(
    learner: Learner, at: Position, tally: corrupt.Tally, config: Config, train_set: Manifest
) -> State:
    """What every checkpoint holds; one may also say `to_evaluate`: the run was stopped before an evaluation."""
    return {
        **learner.state(),
        "position": at.to_state(),
        "tally": tally.state(),
        "config": config.model_dump(mode="json", by_alias=True),
        "classes": train_set.classes,
        "shards": train_set.settings,
    }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.train", description="Train bLVNet-TAM on shards."
    )
    parser.add_argument("--config", required=True, help="YAML file; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the configuration")
    args = parser.parse_args(argv)
    config = configuration.load(args.config, args.overrides)
    try:
        with joined(config.run.timeout_s) as world:
            train(config, world)
    except Preempted as stopped:
        if world.main:
            print(stopped, file=sys.stderr, flush=True)
        return STATUS
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

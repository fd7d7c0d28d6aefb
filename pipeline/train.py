"""The training program.

    torchrun --nproc-per-node 8 -m pipeline.train --config configs/blvnet-tam-50-f8x2-v2.yaml \
        data.root=s3://bucket/sthv2 run.folder=s3://bucket/runs/f8x2

Started again with the same run folder, it goes on from the newest complete checkpoint.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch

from pipeline import audit, corrupt, position
from pipeline import config as configuration
from pipeline.audit import AuditLog
from pipeline.cache import shards_of
from pipeline.checkpoint import Checkpoints, Due, load
from pipeline.clips import train_cutter
from pipeline.config import Config
from pipeline.distributed import World, joined
from pipeline.initialise import initialise
from pipeline.learner import Learner, build_model
from pipeline.loader import Batch, batches
from pipeline.meter import Meter
from pipeline.metrics import Reporter
from pipeline.plan import readers_per_lane
from pipeline.position import Position
from pipeline.predictions import predict
from pipeline.scores import score
from pipeline.stream import ClipStream, Passes
from sharding import manifest, storage
from sharding.errors import one_line_errors
from sharding.manifest import Manifest


def train(config: Config, world: World) -> None:
    """Train to the last epoch: from the start, or from the newest checkpoint of the run folder."""
    optim, run = config.optim, config.run
    train_set = manifest.load(storage.join(config.data.root, config.data.train))
    validation_set = manifest.load(storage.join(config.data.root, config.data.validation))
    position.check_splits(train_set, validation_set)
    checkpoints = Checkpoints(run.folder, run.keep)
    learner, at = _ready(config, train_set, checkpoints, world)
    steps = at.steps_in_epoch
    reporter = Reporter(run.folder, at.done, steps * optim.epochs) if world.main else None
    log = AuditLog(run.folder, world.rank, at.done) if run.audit else None
    tally = corrupt.Tally(corrupt.allowed(config.data, train_set.samples))
    meter, due = Meter(world), Due(run.checkpoint_steps, run.checkpoint_minutes)

    for batch in meter.timed(_batches(config, train_set, at, world)):
        rate = learner.schedule.rate(batch.epoch, batch.step, steps)
        loss, correct = learner.step(batch.clips, batch.labels, at.done, rate)
        meter.add(loss, correct, len(batch.numbers), len(batch.replaced))
        at = at.after(at.done + 1)
        epoch_ends = at.step == 0
        save = epoch_ends or due.by_steps(at.done)
        if log:
            log.write(at.done, batch)
        if at.done % run.log_steps == 0 or epoch_ends:
            figures = meter.read()
            save = world.share(save or due.by_time())
            if reporter:
                reporter.train({"step": at.done, "epoch": batch.epoch, "lr": rate, **figures})
            tally.add(batch.epoch, figures["replaced"])
        scores = None
        if epoch_ends and (at.epoch % run.evaluate_epochs == 0 or at.epoch == optim.epochs):
            world.share_buffers(learner.evaluated)
            predictions = predict(
                learner.evaluated, validation_set, config, world, at.global_batch // world.ranks
            )
            scores = score(predictions) if predictions else None
            learner.schedule.evaluated(world.share(scores.top1 if scores else 0.0))
            if log and predictions:
                log.validation(at.done, validation_set, predictions.keys)
            if reporter and scores:
                reporter.validation({"step": at.done, "epoch": batch.epoch, **asdict(scores)})
        if save:
            if log:
                log.flush()
            world.wait()  # what led to a checkpoint is on record before the checkpoint is
            if reporter:
                reporter.flush()
                state = _state(learner, at, config, train_set)
                checkpoints.save(at.done, state, scores.top1 if scores else None)
            due.saved()
        if epoch_ends:
            meter.restart()

    if reporter:
        reporter.close()


def _ready(
    config: Config, train_set: Manifest, checkpoints: Checkpoints, world: World
) -> tuple[Learner, Position]:
    """A learner with the weights to start from, and where in the order of samples that is."""
    run = config.run
    at = position.first(config, train_set, world.ranks)
    torch.manual_seed(run.seed)
    torch.use_deterministic_algorithms(run.deterministic)
    model = build_model(config, len(train_set.classes))
    # One process chooses, so that all go on from the same checkpoint or fail.
    chosen = world.share(checkpoints.newest() if world.main else None)
    if chosen is None:
        initialise(model, config.init)
    learner = Learner(model, config, world)
    if chosen:
        saved = load(*chosen)
        position.check_model(saved["config"], config, run.folder)
        at = position.resumed(saved["position"], at, run.folder, lanes_given=config.data.lanes is not None)
        learner.restore(saved)
    if world.main:
        _announce(config, at, world)
        audit.clear(run.folder, at.done)
        if run.audit:
            audit.begin(run.folder, audit.Start(at, world.ranks, train_set.root))
    world.wait()
    return learner, at


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
    return batches(stream, config.data.workers, pin=world.device.type == "cuda")


def _state(learner: Learner, at: Position, config: Config, train_set: Manifest) -> dict[str, Any]:
    """Everything that a checkpoint holds."""
    return {
        **learner.state(),
        "position": at.to_state(),
        "config": config.model_dump(mode="json", by_alias=True),
        "classes": train_set.classes,
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
    with joined(config.run.timeout_s) as world:
        train(config, world)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

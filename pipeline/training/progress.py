"""How far a run has come: all that a checkpoint keeps, and that a run starts with or goes on from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data import corrupt
from pipeline.data.splits import Mixed, labels_a_video
from pipeline.handover.shared import check_room
from pipeline.order import position
from pipeline.order.position import Position
from pipeline.ranks.distributed import World
from pipeline.ranks.shared_state import share_state
from pipeline.run import audit_log
from pipeline.run.checkpoint import Checkpoints, State
from pipeline.run.provenance import changes
from pipeline.training.feed import train_batches
from pipeline.training.initialise import initialise
from pipeline.training.learner import Learner
from pipeline.training.network import build_model, check_model
from pipeline.training.statistics import recompute
from sharding import storage
from sharding.errors import UserError
from sharding.format.kinds import has_several_labels
from sharding.format.manifest import Manifest


@dataclass
class Progress:
    """A run between two steps. `to_evaluate`: the epoch that has ended is still to be evaluated.

    `before`: the configuration that the checkpoint kept, of a run that goes on.
    """

    learner: Learner
    at: Position
    tally: corrupt.Tally
    to_evaluate: bool = False
    before: dict[str, Any] | None = None

    def state(self, config: Config, train_set: Manifest) -> State:
        """What every checkpoint holds."""
        return {
            **self.learner.state(),
            "position": self.at.to_state(),
            "tally": self.tally.state(),
            "to_evaluate": self.to_evaluate,
            "config": config.model_dump(mode="json", by_alias=True),
            "classes": train_set.classes,
            "shards": train_set.settings,
            "split": _facts(train_set),
        }


def begin(
    config: Config, train_set: Manifest, validation_set: Manifest, world: World, mixed: Sequence[Mixed] = ()
) -> Progress:
    """The start of a run, or where the newest checkpoint of its folder left it; says which, and clears what came after.

    `mixed` are further sets to train on. Every rank must call it.
    """
    run = config.run
    at = position.first(config, train_set, world.ranks, tuple(one.share for one in mixed))
    check_room(config, world.ranks)
    torch.manual_seed(run.seed)
    torch.use_deterministic_algorithms(run.deterministic)
    # Training's shapes do not change: cuDNN times its convolutions once, and keeps the fastest.
    torch.backends.cudnn.benchmark = not run.deterministic
    # One process chooses and reads, so that all go on from the same checkpoint or fail.
    found = Checkpoints(run.folder, run.keep).newest() if world.main else None
    chosen = share_state(world, {"url": found[0], **found[1]} if found else None)
    if chosen:
        progress = _resumed(chosen.pop("url"), chosen, config, train_set, at, world)
    else:
        progress = _fresh(config, train_set, at, world, mixed)
    if world.main:
        # In this order: the record of a run whose configuration is no more must not lie beside a new one's.
        audit_log.clear(run.folder, progress.at.done)
        if not chosen:
            Checkpoints(run.folder, run.keep).begin()
        storage.write_bytes(storage.join(run.folder, "config.yaml"), configuration.dump(config).encode())
        if run.audit:
            settings = _settings_on_record(config, validation_set)
            audit_log.begin(run.folder, audit_log.Start(progress.at, world.ranks, train_set.root, settings))
    world.wait()
    return progress


def _fresh(
    config: Config, train_set: Manifest, at: Position, world: World, mixed: Sequence[Mixed]
) -> Progress:
    model = build_model(config, len(train_set.classes))
    if config.init.reference or config.init.from_:
        if world.main:
            initialise(model, config.init, train_set.several_labels)
        weights = share_state(world, model.state_dict() if world.main else None)
        assert weights
        model.load_state_dict(weights)
    if count := config.init.norm_batches:
        some = islice(train_batches(config, train_set, at, world, mixed), count)
        recompute(model.to(world.device), (batch.clips for batch in some), config, world)
    tally = corrupt.Tally(corrupt.allowed(config.data, at.samples_of(train_set)))
    return Progress(Learner(model, config, world), at, tally)


def _resumed(
    url: str, saved: State, config: Config, train_set: Manifest, fresh: Position, world: World
) -> Progress:
    """As the checkpoint `saved`, which was read from `url`, has it."""
    check_model(saved["config"], config, config.run.folder)
    _check_shards(saved, train_set, config.run.folder)
    learner = Learner(build_model(config, len(train_set.classes)), config, world, saved.get("blend"))
    lanes_given = config.data.lanes is not None
    at = position.resumed(saved["position"], fresh, config.run.folder, lanes_given)
    learner.restore(saved, url)
    allowed = corrupt.allowed(config.data, at.samples_of(train_set))
    tally = corrupt.Tally(allowed, **saved.get("tally", {}))
    return Progress(learner, at, tally, saved.get("to_evaluate", False), saved["config"])


def _facts(split: Manifest) -> dict[str, Any]:
    """What a person knows a split by."""
    return {"data set": split.dataset, "videos": split.samples, "shards": len(split.shards)}


def _check_shards(saved: State, train_set: Manifest, folder: str) -> None:
    """`UserError` where the shards are not those that the run began with; says in what they differ."""
    if saved["position"]["manifest"] == train_set.sha256:
        return
    differ = changes(saved.get("split", {}), _facts(train_set))
    differ += changes(saved.get("shards", {}), train_set.settings)
    if has_several_labels(saved.get("shards", {})) != train_set.several_labels:
        differ.append(f"a video now has {labels_a_video(train_set)}")
    if saved["classes"] != train_set.classes:
        differ.append(f"classes: {len(saved['classes'])} -> {len(train_set.classes)}, or other names")
    raise UserError(
        f"{folder}: the shards under data.root changed since this run began: "
        f"{'; '.join(differ) or 'as many videos and shards, of other content'}; use another run.folder to start anew"
    )


def _settings_on_record(config: Config, validation_set: Manifest) -> audit_log.Settings:
    data = config.data
    return audit_log.Settings(
        config.optim.epochs,
        config.run.evaluate_epochs,
        validation_set.root,
        validation_set.sha256,
        data.corrupt_budget if data.corrupt == "replace" else 0.0,
    )

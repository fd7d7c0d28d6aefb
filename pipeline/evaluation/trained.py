"""A network that was trained, with what is needed to use it: from a checkpoint, or from a published file."""

import copy
import io
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from blvnet import BLVNetTAM, weights, zoo
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.run import checkpoint
from pipeline.training.network import build_model, check_model
from sharding import storage
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.sources import something


@dataclass(frozen=True)
class Trained:
    """A model on the CPU, its configuration, the names of its classes, and how its videos became shards."""

    model: BLVNetTAM
    config: Config
    classes: list[str]
    shards: Settings


def load(url: str, overrides: list[str]) -> Trained:
    """What the checkpoint at `url` holds, with its configuration changed by `overrides`."""
    state = checkpoint.load(url)
    config = configuration.override(copy.deepcopy(state["config"]), overrides, url)
    check_model(state["config"], config, url)
    model = build_model(config, len(state["classes"]))
    model.load_state_dict(checkpoint.weights_of(state))
    return Trained(model, config, state["classes"], _settings(state.get("shards", {})))


def published(name: str, file: str, class_file: str | None, overrides: list[str]) -> Trained:
    """The published model `name` with the reference's weights in `file`; float32 unless overridden.

    Without the label file of its data set, its classes are named by their indices.
    """
    if name not in zoo.ZOO:
        raise UserError(f"--model {name}: no such model; there are {', '.join(zoo.ZOO)}")
    shape = {"depth": zoo.ZOO[name].depth, "num_frames": zoo.ZOO[name].num_frames}
    tree: dict[str, Any] = {
        "model": shape,
        "data": {"root": "none"},
        "run": {"folder": "none", "precision": "fp32"},
    }
    config = configuration.override(tree, overrides, name)
    model = build_model(config, zoo.CLASSES)
    try:
        fresh = weights.load_reference(model, io.BytesIO(storage.read_bytes(file)))
    except weights.WeightsError as error:
        raise UserError(f"{file}: {error}") from None
    if fresh:
        raise UserError(f"{file}: weights of an image network, which knows no videos; give a released model")
    classes = [str(i) for i in range(zoo.CLASSES)]
    if class_file:
        classes = something.load_classes(Path(class_file))
        if len(classes) != zoo.CLASSES:
            raise UserError(f"{class_file}: {len(classes)} classes, and the model has {zoo.CLASSES}")
    return Trained(model, config, classes, Settings())


def _settings(recorded: dict[str, Any]) -> Settings:
    """The settings of a build as a manifest records them; the defaults for what it does not."""
    known = {field.name for field in fields(Settings)}
    return replace(Settings(), **{name: value for name, value in recorded.items() if name in known})

"""A network that was trained, with what is needed to use it: from a checkpoint, or from a published file."""

import copy
import io
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from blvnet import BLVNetTAM, weights, zoo
from blvnet.zoo import Published
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data.splits import labels_a_video
from pipeline.ranks.distributed import World
from pipeline.ranks.shared_state import share_state
from pipeline.run import checkpoint
from pipeline.training.network import build_model, check_model
from sharding import storage
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.format.kinds import has_several_labels
from sharding.format.manifest import Manifest
from sharding.lists import something

_DATASETS = {"v1": "sthv1", "v2": "sthv2", "k400": "Kinetics-400"}


@dataclass(frozen=True)
class Trained:
    """A model on the CPU, its configuration, the names of its classes, and how its videos became shards.

    `source` says where it comes from, as options have it; `published` is the model that its weights are published for.
    Where the names of its classes are not known, `classes` are their numbers and `named` is False. `several`: whether
    it was trained on videos with several labels each.
    """

    model: BLVNetTAM
    config: Config
    classes: list[str]
    shards: Settings
    source: dict[str, str]
    published: Published | None = None
    named: bool = True
    several: bool = False


def load(url: str, overrides: list[str]) -> Trained:
    """What the checkpoint at `url` holds, with its configuration changed by `overrides`."""
    state = checkpoint.load(url)
    if "classes" not in state:
        raise UserError(
            f"{url}: names no classes, so it is no checkpoint that a training of this program wrote"
        )
    config = configuration.override(copy.deepcopy(state["config"]), overrides, url)
    check_model(state["config"], config, url)
    model = build_model(config, len(state["classes"]))
    model.load_state_dict(checkpoint.weights_of(state))
    recorded = state.get("shards", {})
    several = has_several_labels(recorded)
    source = {"checkpoint": url}
    return Trained(model, config, state["classes"], _settings(recorded), source, several=several)


def published(name: str, file: str, class_file: str | None, overrides: list[str]) -> Trained:
    """The published model `name` with the reference's weights in `file`.

    Unless overridden it is in float32, and sees videos as the published scores do. Without the label file of its data
    set, its classes are named by their indices.
    """
    if name not in zoo.ZOO:
        raise UserError(f"--model {name}: no such model; there are {', '.join(zoo.ZOO)}")
    known = zoo.ZOO[name]
    tree: dict[str, Any] = {
        "model": {"depth": known.depth, "num_frames": known.num_frames},
        "data": {
            "root": "none",
            "sampling": "reference",  # of random clips
            "size": zoo.PROTOCOL["size"],
            "short_side": zoo.PROTOCOL["short_side"],
        },
        "run": {"folder": "none", "precision": "fp32"},
    }
    config = configuration.override(copy.deepcopy(tree), overrides, name)
    check_model(tree, config, f"--model {name}")
    model = build_model(config, known.classes)
    try:
        fresh = weights.load_reference(model, io.BytesIO(storage.read_bytes(file)))
    except weights.WeightsError as error:
        raise UserError(f"{file}: not the weights of {name}: {error}") from None
    if fresh:
        raise UserError(f"{file}: weights of an image network, which knows no videos; give a released model")
    classes = [str(i) for i in range(known.classes)]
    if class_file:
        classes = something.load_classes(Path(class_file))
        if len(classes) != known.classes:
            raise UserError(f"{class_file}: {len(classes)} classes, and {name} knows {known.classes}")
    source = {"model": name, "reference_weights": file}
    return Trained(model, config, classes, Settings(), source, known, named=bool(class_file))


def share(world: World, found: Trained | None) -> Trained:
    """The main process's network on every rank, which must all call this: a store sends its file once."""
    about = {name: value for name, value in vars(found).items() if name != "model"} if found else {}
    about = world.share(about)
    state = share_state(world, found.model.state_dict() if found else None)
    if found:
        return found
    model = build_model(about["config"], len(about["classes"]))
    model.load_state_dict(state or {})
    return Trained(model=model, **about)


def check_classes(found: Trained, split: Manifest) -> None:
    """`UserError` where the classes of `split`, or how many a video has, are not those that the network knows."""
    model = found.published
    if split.several_labels != found.several:
        name = found.source["checkpoint"] if model is None else model.name
        knows = "several" if found.several else "one"
        raise UserError(
            f"{split.root}: a video has {labels_a_video(split)}; {name} was trained on videos with {knows}, and cannot "
            "be scored on it"
        )
    if model is None:
        if split.classes != found.classes:
            known = found.source["checkpoint"]
            raise UserError(f"{split.root}: its classes are not those that {known} was trained on")
        return
    known = f"{model.name} knows the {model.classes} of {_DATASETS[model.dataset]}"
    if split.dataset in _DATASETS.values() and split.dataset != _DATASETS[model.dataset]:
        raise UserError(f"{split.root}: shards of {split.dataset}, with its classes; {known}")
    if len(split.classes) != model.classes:
        raise UserError(f"{split.root}: {len(split.classes)} classes; {known}")
    if found.named and split.classes != found.classes:
        raise UserError(f"{split.root}: its classes are not those of --classes, in the same order")


def _settings(recorded: dict[str, Any]) -> Settings:
    """The settings of a build as a manifest records them; the defaults for what it does not."""
    known = {field.name for field in fields(Settings)}
    return replace(Settings(), **{name: value for name, value in recorded.items() if name in known})

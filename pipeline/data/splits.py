"""Whether splits can be trained and validated on."""

from pipeline.config import FLOW_CHANNELS, Model
from sharding import storage
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest
from sharding.format.recipe import has_single_pictures, is_flow


def load(root: str, split: str, key: str) -> Manifest:
    """The manifest of a split of the shard set at `root`, which the setting `key` names.

    Raises `UserError` where it has none, with the splits that are there.
    """
    url = storage.join(root, split, manifest.NAME)
    if not storage.exists(url):
        there = [
            name for name in manifest.splits(root) if storage.exists(storage.join(root, name, manifest.NAME))
        ]
        if there and split not in there:
            raise UserError(f"{url}: no such split; there are {', '.join(there)}: {_advice(there, key)}")
    return manifest.load(url)


def _advice(there: list[str], key: str) -> str:
    wanted = [f"{key}={name}" for name in there if (name == "train") == (key == "data.train")]
    return f"set {' or '.join(wanted)}" if wanted else "build that split too"


def check_input(split: Manifest, model: Model) -> None:
    """`UserError` where the samples of `split` are not what a network of `model` takes: colour, flow or pictures."""
    channels = model.in_channels
    if has_single_pictures(split.settings) and model.num_frames > 1:
        raise UserError(
            f"{split.root}: single pictures (built with --input image), and model.num_frames {model.num_frames} is a "
            "film; set model.num_frames=1"
        )
    if is_flow(split.settings) == (channels == FLOW_CHANNELS):
        return
    if channels == FLOW_CHANNELS:
        raise UserError(
            f"{split.root}: pictures in colour, and model.in_channels {channels} is optical flow; give a set that was "
            "built with --input flow, or set model.in_channels=3"
        )
    raise UserError(
        f"{split.root}: optical flow (built with --input flow), and model.in_channels {channels} is colour; "
        f"set model.in_channels={FLOW_CHANNELS}, or give a set of videos"
    )


def check_splits(train_set: Manifest, validation_set: Manifest) -> None:
    """`UserError` where the two do not belong together, or one has no labels."""
    if train_set.classes != validation_set.classes:
        raise UserError(f"{validation_set.root}: its classes are not those of {train_set.root}")
    if train_set.several_labels != validation_set.several_labels:
        counts = [labels_a_video(split) for split in (validation_set, train_set)]
        raise UserError(
            f"{validation_set.root}: a video has {counts[0]}, and in {train_set.root} {counts[1]}; build both alike"
        )
    for split in (train_set, validation_set):
        if not is_labelled(split):
            raise UserError(
                f"{split.root}: its samples have no labels; train and validate on labelled splits"
            )


def labels_a_video(split: Manifest) -> str:
    """How many labels a video of `split` has, in words."""
    return "several labels" if split.several_labels else "one label"


def is_labelled(split: Manifest) -> bool:
    """Whether the first sample has a label."""
    first = next(i for i, shard in enumerate(split.shards) if shard.samples)
    return split.sidecar(first).samples[0].label is not None

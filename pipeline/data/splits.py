"""Whether splits can be trained and validated on, and what is mixed into training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.config import FLOW_CHANNELS, Config, Data, Model
from pipeline.data.films import shards_of
from pipeline.data.samples import Sample
from pipeline.data.shards import Shards
from pipeline.order import mixture
from pipeline.order.position import Share, epoch_samples
from sharding import storage
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.kinds import has_single_pictures, is_flow
from sharding.format.manifest import Manifest


@dataclass(frozen=True)
class Mixed:
    """A split of another set, whose samples come among those of a run's training split.

    Each comes `weight` times an epoch on average. `labels`: the run's label of each of its classes; None where these
    are the run's own. `shards`: where its bytes come from, by default the store.
    """

    split: Manifest
    weight: float
    labels: tuple[int, ...] | None = None
    shards: Shards | None = None

    @property
    def samples(self) -> int:
        """How many come in an epoch."""
        return mixture.share(self.weight, self.split.samples)

    @property
    def bytes(self) -> float:
        """How many of them in an epoch, on average."""
        return self.samples * self.split.bytes / self.split.samples

    @property
    def share(self) -> Share:
        """What a run's position says of it."""
        return Share(self.split.root, self.split.sha256, self.weight, self.samples)

    def relabelled(self, sample: Sample) -> Sample:
        """`sample`, of this set, with the run's label for its class."""
        label = sample.row.label
        if self.labels is None or label is None:
            return sample
        of_run = (
            self.labels[label] if isinstance(label, int) else tuple(sorted(self.labels[i] for i in label))
        )
        return replace(sample, row=replace(sample.row, label=of_run))


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


def load_all(config: Config) -> tuple[Manifest, Manifest, tuple[Mixed, ...]]:
    """What a training reads: its split, the one to validate on, and what is mixed in.

    `UserError` where they are not there, do not belong together, or are not what the network takes.
    """
    data = config.data
    train_set = load(data.root, data.train, "data.train")
    validation_set = load(data.root, data.validation, "data.validation")
    check_splits(train_set, validation_set)
    mixed = load_mix(data, train_set)
    for split in (train_set, validation_set, *(one.split for one in mixed)):
        check_input(split, config.model)
    return train_set, validation_set, mixed


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
        _check_labelled(split)


def load_mix(data: Data, train_set: Manifest) -> tuple[Mixed, ...]:
    """The sets that `data.mix` mixes with `train_set`, in an order of their own, wherever they lie.

    `UserError` where one cannot be.
    """
    loaded = ((load(root, data.train, "data.train"), weight) for root, weight in data.mix.items())
    mixed = mixed_with(train_set, loaded, "data.mix")
    for one in mixed:
        _check_labelled(one.split)
    return tuple(replace(one, shards=shards_of(data, one.split)) for one in mixed)


def mixed_with(train_set: Manifest, others: Iterable[tuple[Manifest, float]], key: str) -> tuple[Mixed, ...]:
    """The same of splits that are loaded, each with its weight; the setting `key` names them."""
    found: dict[str, Mixed] = {}
    for split, weight in others:
        if split.sha256 in (train_set.sha256, *found):
            twice = found[split.sha256].split if split.sha256 in found else train_set
            raise UserError(
                f"{split.root}: {key} has it twice: it is the same set as {twice.root}; leave one out"
            )
        found[split.sha256] = Mixed(split, weight, _labels(split, train_set, key))
    if found and (total := epoch_samples(train_set, found.values())) > mixture.MOST:
        raise UserError(
            f"{key}: an epoch of {total} samples is more than {mixture.MOST}; give smaller weights"
        )
    return tuple(found[sha256] for sha256 in sorted(found))


def bytes_a_sample(train_set: Manifest, mixed: Sequence[Mixed]) -> float:
    """The mean size of an epoch's samples."""
    size = train_set.bytes + sum(one.bytes for one in mixed)
    return size / epoch_samples(train_set, mixed)


def _labels(split: Manifest, train_set: Manifest, key: str) -> tuple[int, ...] | None:
    """The label in `train_set` of each class of `split`; None where they are the same."""
    where = f"{split.root}: {key} cannot mix it into {train_set.root}"
    if not split.samples:
        raise UserError(f"{where}: it has no samples; leave it out")
    if split.several_labels != train_set.several_labels:
        counts = [labels_a_video(one) for one in (split, train_set)]
        raise UserError(f"{where}: a video has {counts[0]}, and there {counts[1]}; build both alike")
    if split.classes == train_set.classes:
        return None
    label_of = {name: label for label, name in enumerate(train_set.classes)}
    for name in split.classes:
        if name not in label_of:
            raise UserError(
                f"{where}: its class {name!r} is none of the {len(label_of)} there; build it without "
                "(--only-classes), or train on it and mix in the other"
            )
    return tuple(label_of[name] for name in split.classes)


def labels_a_video(split: Manifest) -> str:
    """How many labels a video of `split` has, in words."""
    return "several labels" if split.several_labels else "one label"


def _check_labelled(split: Manifest) -> None:
    if not is_labelled(split):
        raise UserError(f"{split.root}: its samples have no labels; train and validate on labelled splits")


def is_labelled(split: Manifest) -> bool:
    """Whether the first sample has a label. `UserError` where there is none, since every video failed."""
    if not split.samples:
        raise UserError(
            f"{split.root}: no samples in it: every video failed, as failures.csv says; mend them and build --repair"
        )
    first = next(i for i, shard in enumerate(split.shards) if shard.samples)
    return split.sidecar(first).samples[0].label is not None

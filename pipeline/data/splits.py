"""Whether splits can be trained and validated on."""

from sharding.errors import UserError
from sharding.format.manifest import Manifest


def check_splits(train_set: Manifest, validation_set: Manifest) -> None:
    """`UserError` where the two do not belong together, or one has no labels."""
    if train_set.classes != validation_set.classes:
        raise UserError(f"{validation_set.root}: its classes are not those of {train_set.root}")
    for split in (train_set, validation_set):
        if not is_labelled(split):
            raise UserError(
                f"{split.root}: its samples have no labels; train and validate on labelled splits"
            )


def is_labelled(split: Manifest) -> bool:
    """Whether the first sample has a label."""
    first = next(i for i, shard in enumerate(split.shards) if shard.samples)
    return split.sidecar(first).samples[0].label is not None

"""Batches of training clips, as they are before and after what the configuration does to their pixels."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.augmentation import mixing, operations, pixels
from pipeline.config import Augment
from pipeline.data.batch import Batch
from pipeline.order import plan


def changer(augment: Augment, seed: int) -> Callable[[Batch], Batch]:
    """What changes a rank's batch, on the device that its clips are on and in their memory.

    On a GPU, since the loader is what limits training there: on a core it takes four times as long as making the clip
    (`benchmarks/augmentation.py`).
    """

    def change(batch: Batch) -> Batch:
        if augment.operations or augment.jitter:
            for clip, number in zip(batch.clips, batch.numbers, strict=True):
                drawn = operations.draw(augment, plan.pixel_rng(seed, batch.epoch, number))
                pixels.change(clip, drawn)
        if augment.mixup:
            amounts = mixing.shares(augment.mixup, seed, batch.epoch, batch.numbers)
            return replace(batch, mixed=mixing.mix(batch.clips, batch.labels, amounts))
        return batch

    return change

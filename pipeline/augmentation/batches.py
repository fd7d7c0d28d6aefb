"""Batches of training clips, as they are before and after what the configuration does to their pixels."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.augmentation import mixing, operations
from pipeline.config import Augment
from pipeline.data.batch import Batch
from pipeline.order import plan


def changer(augment: Augment, seed: int, repeats: int = 1) -> Callable[[Batch], Batch]:
    """What changes a rank's batch, of `repeats` clips a video, on the device that its clips are on, in their memory.

    On a GPU, since the loader is what limits training there: on a core it takes four times as long as making the clip
    (`benchmarks/augmentation.py`).
    """
    coloured = bool(augment.operations or augment.jitter)
    if coloured:  # only then: torchvision takes more time to import than this whole program has
        from pipeline.augmentation import pixels

    def change(batch: Batch) -> Batch:
        if repeats > 1:
            labels = batch.labels.repeat_interleave(repeats, dim=0)
            batch = replace(batch, clips=batch.clips.flatten(0, 1), labels=labels)
        drawn_for = [(number, repeat) for number in batch.numbers for repeat in range(repeats)]
        if coloured:
            for clip, (number, repeat) in zip(batch.clips, drawn_for, strict=True):
                drawn = operations.draw(augment, plan.pixel_rng(seed, batch.epoch, number, repeat))
                pixels.change(clip, drawn)
        if augment.mixup:
            amounts = mixing.shares(augment.mixup, seed, batch.epoch, drawn_for)
            return replace(batch, mixed=mixing.mix(batch.clips, batch.labels, amounts))
        return batch

    return change

"""What the order of a clip's frames does to predictions: the drop, and what is taken for its mirror in time."""

import re
from dataclasses import dataclass

import numpy as np

from pipeline.data.sampling import FrameOrder
from pipeline.evaluation.confusion import Floats, Ints, predicted_classes

# Phrases of class names that change places when a film runs backwards.
_EXCHANGED = (
    ("left", "right"),
    ("up", "down"),
    ("upwards", "downwards"),
    ("closer to", "away from"),
    ("towards", "away from"),
    ("approaching something with", "moving away from something with"),
    ("opening", "closing"),
    ("folding", "unfolding"),
    ("covering something with something", "uncovering something"),
    ("putting something into", "taking something out of"),
    ("burying something in", "digging something out of"),
    ("putting something behind something", "removing something, revealing something behind"),
    (
        "putting something similar to other things that are already on the table",
        "taking one of many similar things on the table",
    ),
)


@dataclass(frozen=True)
class OrderEffect:
    """What another order of frames does to a split's predictions; accuracies and shares in percent.

    `recognised`: videos of the classes with a mirror in time that are recognised forwards; `flipped`: the share of
    them that is taken for the mirror in this order, None where there are none.
    """

    order: FrameOrder
    top1_forward: float
    top1: float
    drop: float
    mirrored_classes: int
    recognised: int
    flipped: float | None


def time_mirrors(classes: list[str]) -> Ints:
    """The class that each class becomes when a film runs backwards, int64 (classes,); -1 where the set has none."""
    plain = [re.sub(r"[\[\]]", "", name).replace("_", " ").lower() for name in classes]
    index = {name: i for i, name in enumerate(plain)}
    mirrors = np.full(len(classes), -1, np.int64)
    for there, back in _EXCHANGED:
        for i, name in enumerate(plain):
            other = index.get(_exchange(name, there, back), i)
            if other != i and mirrors[i] == mirrors[other] == -1:
                mirrors[i], mirrors[other] = other, i
    return mirrors


def effect(
    order: FrameOrder, classes: list[str], labels: Ints, forward: Floats, other: Floats
) -> OrderEffect:
    """Compare a labelled split's logits in `order`, float32 (videos, classes), with those forwards."""
    before, after = predicted_classes(forward), predicted_classes(other)
    mirrors = time_mirrors(classes)
    top1_forward, top1 = (100 * float((answers == labels).mean()) for answers in (before, after))
    recognised = (mirrors[labels] >= 0) & (before == labels)
    flipped = after[recognised] == mirrors[labels[recognised]]
    return OrderEffect(
        order=order,
        top1_forward=top1_forward,
        top1=top1,
        drop=top1_forward - top1,
        mirrored_classes=int((mirrors >= 0).sum()),
        recognised=int(recognised.sum()),
        flipped=100 * float(flipped.mean()) if len(flipped) else None,
    )


def _exchange(name: str, there: str, back: str) -> str:
    """`name` with the two phrases in each other's place, where they are whole words."""
    swap = {there: back, back: there}
    return re.sub(rf"\b({re.escape(there)}|{re.escape(back)})\b", lambda found: swap[found[0]], name)

"""What is done to the pixels of one training clip, all its frames alike: drawn here, carried out in `pixels`.

No operation exchanges left and right, or up and down, so labels stay what they are.
"""

from typing import NamedTuple

import numpy as np

from pipeline.config import Augment

NAMES = (
    *("identity", "autocontrast", "equalize", "posterize", "solarize"),
    *("brightness", "contrast", "saturation", "sharpness"),
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)
"""RandAugment's fourteen (Cubuk et al., 2020, section 4)."""

_DEGREES, _SHEAR, _SHIFT = 30.0, 0.3, 0.2


class Operation(NamedTuple):
    """One of `NAMES`, and how it is done.

    `value`: the bits that posterize leaves, the level from which solarize inverts, the factor of an enhancement (1 is
    no change), degrees of a rotation, the tangent of a shear, or the share of a side that is shifted.
    """

    name: str
    value: float = 0.0


def draw(augment: Augment, rng: np.random.Generator) -> list[Operation]:
    """The operations for one clip, in their order."""
    drawn = []
    if augment.jitter:
        factors = 1 + augment.jitter * rng.uniform(-1, 1, 3)
        drawn += [
            Operation(name, float(factor))
            for name, factor in zip(("brightness", "contrast", "saturation"), factors, strict=True)
        ]
    # None of them twice: two rotations could turn a push to the left into one upwards.
    for number in rng.choice(len(NAMES), augment.operations, replace=False):
        name = NAMES[number]
        sign = 1 if rng.random() < 0.5 else -1
        drawn.append(Operation(name, _value(name, sign, augment.strength)))
    return drawn


def _value(name: str, sign: int, strength: float) -> float:
    """How `name` is done at `strength`, 0 to 1, in one of its two directions."""
    match name:
        case "posterize":
            return round(8 - 4 * strength)
        case "solarize":
            return 256 - 128 * strength
        case "brightness" | "contrast" | "saturation" | "sharpness":
            return 1 + sign * 0.9 * strength
        case "rotate":
            return sign * _DEGREES * strength
        case "shear_x" | "shear_y":
            return sign * _SHEAR * strength
        case "translate_x" | "translate_y":
            return sign * _SHIFT * strength
    return 0.0

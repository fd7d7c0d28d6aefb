"""Drawn operations carried out on the uint8 frames of a clip, with torchvision's kernels."""

from math import atan, degrees
from typing import cast

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from pipeline.augmentation.operations import Operation

_FILL = [124.0, 116.0, 104.0]  # ImageNet's mean: 0 for the network


def change(clip: Tensor, operations: list[Operation]) -> None:
    """Carry out `operations` on `clip`, uint8 (frames, 3, height, width) with channels-last memory, in place."""
    changed = clip
    for operation in operations:
        changed = _changed(changed, operation)
    if changed is not clip:
        clip.copy_(changed)


def _changed(clip: Tensor, operation: Operation) -> Tensor:
    name, value = operation
    if name == "identity":
        return clip
    if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        return _moved(clip, name, value)
    if name == "sharpness":  # which looks at neighbours
        return cast(Tensor, functional.adjust_sharpness(clip, value))
    # As one tall picture, so that what is taken from the levels (their mean, range, histogram) is the whole clip's.
    frames, channels, height, width = clip.shape
    tall = clip.transpose(0, 1).reshape(channels, frames * height, width)
    return _recoloured(tall, name, value).view(channels, frames, height, width).transpose(0, 1)


def _recoloured(picture: Tensor, name: str, value: float) -> Tensor:
    match name:
        case "autocontrast":
            changed = functional.autocontrast(picture)
        case "equalize":
            changed = functional.equalize(picture)
        case "posterize":
            changed = functional.posterize(picture, int(value))
        case "solarize":
            changed = functional.solarize(picture, value) if value <= 255 else picture
        case "brightness":
            changed = functional.adjust_brightness(picture, value)
        case "contrast":
            changed = functional.adjust_contrast(picture, value)
        case "saturation":
            changed = functional.adjust_saturation(picture, value)
        case _:
            raise AssertionError(name)
    return cast(Tensor, changed)


def _moved(clip: Tensor, name: str, value: float) -> Tensor:
    height, width = clip.shape[-2:]
    shear = degrees(atan(value))
    moved = functional.affine(
        clip,
        angle=value if name == "rotate" else 0.0,
        translate=[
            value * width if name == "translate_x" else 0.0,
            value * height if name == "translate_y" else 0.0,
        ],
        scale=1.0,
        shear=[shear if name == "shear_x" else 0.0, shear if name == "shear_y" else 0.0],
        interpolation=InterpolationMode.NEAREST,
        fill=_FILL,
    )
    return cast(Tensor, moved)

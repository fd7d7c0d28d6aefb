"""Crops, flips and resizing of uint8 clips.

What to cut is decided first, on sizes alone; what is decided is then done to all frames of a clip in one call
each. A box is (x, y, width, height) in pixels, a flip is horizontal.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

Box = tuple[int, int, int, int]

# Where in the free space a crop may lie, in quarters of it: (across, down).
CENTER = (2, 2)
CORNERS = ((0, 0), (4, 0), (0, 4), (4, 4))
EDGES = ((0, 2), (4, 2), (2, 4), (2, 0))
INNER = ((1, 1), (3, 1), (1, 3), (3, 3))
MULTI_SCALE_PLACES = (*CORNERS, CENTER, *EDGES, *INNER)
ACROSS = ((0, 2), (4, 2), CENTER)
DOWN = ((2, 0), (2, 4), CENTER)
FIVE = (*CORNERS, CENTER)


class View(NamedTuple):
    """One way to look at a frame: a box of it, and whether it is then flipped."""

    box: Box
    flip: bool


class TrainChoice(NamedTuple):
    """What one training clip becomes: the box that is resized, the flip, and the label that goes with it."""

    box: Box
    flip: bool
    label: int | tuple[int, ...]


def place(width: int, height: int, crop_width: int, crop_height: int, quarters: tuple[int, int]) -> Box:
    """The crop at `quarters` of the free space; a quarter is a whole number of pixels, rounded down."""
    across, down = quarters
    x = across * ((width - crop_width) // 4)
    y = down * ((height - crop_height) // 4)
    return x, y, crop_width, crop_height


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of `boxes`."""
    left, top = min(x for x, _, _, _ in boxes), min(y for _, y, _, _ in boxes)
    right, bottom = max(x + w for x, _, w, _ in boxes), max(y + h for _, y, _, h in boxes)
    return left, top, right - left, bottom - top


def multi_scale_sizes(
    width: int, height: int, input_size: int, scales: Sequence[float]
) -> list[tuple[int, int]]:
    """The reference's crop sizes (w, h): scales of the shorter side, for w and h at most one step apart.

    A size less than 3 pixels from `input_size` becomes `input_size`, which saves the resize.
    """
    shorter = min(width, height)
    sides = [max(1, int(shorter * scale)) for scale in scales]
    if input_size <= shorter:
        sides = [input_size if abs(side - input_size) < 3 else side for side in sides]
    return [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]


def multi_scale_crops(width: int, height: int, input_size: int, scales: Sequence[float]) -> list[Box]:
    """Every box that multi-scale cropping may choose, sorted, each once.

    `TrainTransform` draws a size, then one of 13 places, so boxes whose places coincide come more often.
    """
    sizes = multi_scale_sizes(width, height, input_size, scales)
    return sorted({place(width, height, w, h, quarters) for w, h in sizes for quarters in MULTI_SCALE_PLACES})


def crop_boxes(width: int, height: int, size: int, num_crops: int) -> list[Box]:
    """The `size` x `size` boxes of the test protocol, in the reference's order.

    1: the centre; 3: left, right, centre, or top, bottom, centre of a frame that is higher than wide; 5: the corners
    and the centre; 10: the boxes of 5, each of which is seen a second time flipped (see `crop_views`).
    """
    if num_crops == 1:
        # round() takes a half to the even neighbour, as torchvision's CenterCrop does
        return [(round((width - size) / 2), round((height - size) / 2), size, size)]
    three = DOWN if height > width else ACROSS
    places = three if num_crops == 3 else FIVE
    return [place(width, height, size, size, quarters) for quarters in places]


def crop_views(width: int, height: int, size: int, num_crops: int) -> list[View]:
    """The `num_crops` views of the test protocol; of 10, each box is followed by its flipped copy."""
    flips = (False, True) if num_crops == 10 else (False,)
    return [View(box, flip) for box in crop_boxes(width, height, size, num_crops) for flip in flips]


def scaled_size(width: int, height: int, shorter_side: int) -> tuple[int, int]:
    """(width, height) with the shorter side at `shorter_side`, the longer rounded down, as in torchvision."""
    if width <= height:
        return shorter_side, shorter_side * height // width
    return shorter_side * width // height, shorter_side


_OTHER_SIDE = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
_OTHER_SIDE |= {other: side for side, other in _OTHER_SIDE.items()}
# A word ends at whatever is no letter, or where a capital begins the next one.
_SIDE = re.compile(
    r"((?<![^\W\d_])(left|right|Left|Right)|(?<=[a-z])(Left|Right))(?![a-z])"
    r"|(?<![^\W\d_])(LEFT|RIGHT)(?![^\W\d_])"
)


def mirror_labels(classes: list[str]) -> NDArray[np.int64]:
    """The class that a horizontal flip turns each class into; -1 where a flipped clip fits no class.

    The words "left" and "right" of the name are exchanged, as "Swiping Left", "turn_left" and "TurnLeft" have them too;
    a class with neither stays what it is.
    """
    index = {name: i for i, name in enumerate(classes)}
    mirrored = [_SIDE.sub(lambda m: _OTHER_SIDE[m.group()], name) for name in classes]
    return np.array([index.get(name, -1) for name in mirrored], dtype=np.int64)


def resize(frames: Tensor, width: int, height: int) -> Tensor:
    """uint8 (T, 3, H, W) to (T, 3, height, width), bilinear, antialiased; channels-last stays so.

    The same tensor if nothing changes. On uint8 this is PIL's own algorithm in fixed point, vectorised: what
    torchvision's resize comes to, whose import alone would take a loader's process longer than all others.
    """
    if frames.shape[-2:] == (height, width):
        return frames
    return interpolate(frames, (height, width), mode="bilinear", align_corners=False, antialias=True)


def resize_into(frames: Tensor, out: Tensor) -> None:
    """Resize uint8 (T, 3, H, W), channels-last pixels, to the size of `out`: uint8 (T, 3, size, size), channels-last.

    `out` is filled directly, since a result of its own and a copy of it would cost an eighth of a clip's time
    (`benchmarks/loader.py`).
    """
    if frames.shape[-2:] == out.shape[-2:]:
        out.copy_(frames)
    else:
        torch.ops.aten._upsample_bilinear2d_aa.out(frames, out.shape[-2:], False, None, None, out=out)


def mirrored_bgr(frames: Tensor) -> Tensor:
    """BGR frames, uint8 (T, 3, H, W) with channels-last pixels, flipped and as RGB, in memory of their own.

    Both turn round the bytes of a row, so one reversal of bytes does them, three times as fast as a flip of pixels.
    It is done before a resize, which would copy a box of larger frames anyway: a flip of what is resized would cost a
    thirtieth of a clip's time. The pixels are the same (test_transforms.py).
    """
    count, channels, height, width = frames.shape
    rows = frames.permute(0, 2, 3, 1).flatten(-2).flip(-1)
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def fill(frames: Tensor, clip: Tensor, flip: bool, out: Tensor) -> None:
    """Fill `out`, uint8 (T, 3, H, W), with those of `frames`, (F, 3, H, W), that `clip`, int64 (T,), names."""
    seen = frames[clip]
    out.copy_(seen.flip(-1) if flip else seen)


def fill_flow(pictures: Tensor, clip: Tensor, flip: bool, out: Tensor) -> None:
    """Fill `out`, uint8 (T, 10, H, W), channels-last, with the gray pictures that `clip` names: x and y by turns.

    `pictures`: (F, 1, H, W); `clip`: int64 (T, 10). In a mirror image what went to the right goes to the left.
    Extractors map -b to b pixels to 0 to 255: zero lies at 127.5, and the sign of x changes with 255 - x, as in TSN.
    With a mean of a half, the network's input has exactly the other sign then.
    """
    planes = pictures[:, 0]
    if flip:
        planes = planes.flip(-1)
        of_x = torch.unique(clip[:, 0::2])
        planes[of_x] = 255 - planes[of_x]
    for frame, numbers in zip(out.permute(0, 2, 3, 1), clip.tolist(), strict=True):
        # A tenth of the time of a gather and a copy.
        torch.stack([planes[number] for number in numbers], -1, out=frame)


Fill = Callable[[Tensor, Tensor, bool, Tensor], None]


@dataclass(frozen=True)
class TrainTransform:
    """Multi-scale crop and flip: chooses for one clip, the same for all its frames."""

    size: int
    scales: Sequence[float]
    # "label": a flip exchanges left and right in the label, and is left out where no class fits;
    # "reference": every clip may be flipped, the label stays; "none": no flips.
    flip: Literal["label", "reference", "none"]
    # from `mirror_labels`
    mirror: NDArray[np.int64]

    def choose(
        self, width: int, height: int, label: int | tuple[int, ...], rng: np.random.Generator
    ) -> TrainChoice:
        """A random box, flip and label for a clip whose frames are `width` x `height`.

        Of several labels each is exchanged; where one fits no class when flipped, the clip is not.

        Always takes three numbers from `rng`, whatever the settings.
        """
        sizes = multi_scale_sizes(width, height, self.size, self.scales)
        w, h = sizes[rng.integers(len(sizes))]
        quarters = MULTI_SCALE_PLACES[rng.integers(len(MULTI_SCALE_PLACES))]
        flip = bool(rng.random() < 0.5) and self.flip != "none"
        if self.flip == "label" and flip:
            labels = label if isinstance(label, tuple) else (label,)
            mirrored = [int(self.mirror[one]) for one in labels]
            flip = min(mirrored) >= 0
            if flip:
                label = tuple(sorted(mirrored)) if isinstance(label, tuple) else mirrored[0]
        return TrainChoice(place(width, height, w, h, quarters), flip, label)


@dataclass(frozen=True)
class EvalTransform:
    """The test protocol's views of clips: scaled to `shorter_side`, cropped to `size`; None: whole frames."""

    size: int | None
    shorter_side: int
    num_crops: int = 1

    def view_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the views of such frames."""
        if self.size is None:
            return scaled_size(width, height, self.shorter_side)
        return self.size, self.size

    def __call__(
        self,
        frames: Tensor,
        clips: NDArray[np.int64],
        out: Tensor,
        fill: Fill = fill,
    ) -> None:
        """Fill `out` with the crops of the first clip, then of the next.

        `frames`: uint8 (F, 3, H, W); `clips`: which of them make each clip, int64 (clips, T); `out`: uint8
        (clips * num_crops, T, 3, height, width). With `fill_flow` as `fill`, pictures of flow as that has them.
        """
        height, width = frames.shape[-2:]
        width, height = scaled_size(width, height, self.shorter_side)
        frames = resize(frames, width, height)
        crops = [View((0, 0, width, height), False)]
        if self.size is not None:
            crops = crop_views(width, height, self.size, self.num_crops)
        for clip, views in zip(torch.from_numpy(clips), torch.split(out, len(crops)), strict=True):
            for view, ((x, y, w, h), flip) in zip(views, crops, strict=True):
                fill(frames[:, :, y : y + h, x : x + w], clip, flip, view)

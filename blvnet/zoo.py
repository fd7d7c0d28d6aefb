"""The published models by name, with their published scores and sizes."""

from dataclasses import dataclass
from typing import Any

from blvnet.model import BLVNetTAM

CLASSES = {"v1": 174, "v2": 174, "k400": 400}
"""Classes of the data sets: Something-Something, both versions, and Kinetics-400."""

PROTOCOL: dict[str, int | str] = {
    "clips": 1,
    "crops": 1,
    "sampling": "uniform",
    "size": 224,
    "short_side": 224,
}
"""What the published scores were measured on: one clip over the video, the centre of frames of that shorter side."""


@dataclass(frozen=True)
class Published:
    """A published model: its shape, its score and its size.

    `dataset`: v1 or v2 of Something-Something, or k400 (Kinetics-400), of `classes` classes; `top1` is in percent, on
    the validation split by `PROTOCOL`, None where the authors give no figure; `parameters` in millions; `gmacs` in 10^9
    multiply-adds for one clip of 224 x 224.
    """

    name: str
    dataset: str
    classes: int
    depth: int
    num_frames: int
    top1: float | None
    parameters: float
    gmacs: float


_SIZES = {
    (50, 174): (25.02, 23.85),
    (101, 174): (40.18, 32.15),
    (50, 400): (25.48, 23.855),  # counted; the authors give none
}  # depth, classes: parameters, gmacs at f8x2; the cost grows with the frames
_TOP1: dict[str, dict[tuple[int, int], float | None]] = {  # depth, frame pairs
    "v1": {(50, 8): 46.4, (50, 16): 48.4, (101, 8): 47.8, (101, 16): 49.6, (101, 24): 52.2, (101, 32): 53.1},
    "v2": {(50, 8): 59.1, (50, 16): 61.7, (101, 8): 60.2, (101, 16): 61.9, (101, 24): 64.0, (101, 32): 65.2},
    # The authors' code has these two; what they score is not said there.
    "k400": {(50, 8): None, (50, 16): None},
}

ZOO: dict[str, Published] = {
    model.name: model
    for dataset, scores in _TOP1.items()
    for (depth, pairs), top1 in scores.items()
    for parameters, gmacs in [_SIZES[depth, CLASSES[dataset]]]
    for model in [
        Published(
            name=f"blvnet-tam-{depth}-f{pairs}x2-{dataset}",
            dataset=dataset,
            classes=CLASSES[dataset],
            depth=depth,
            num_frames=2 * pairs,
            top1=top1,
            parameters=parameters,
            gmacs=round(gmacs * pairs / 8, 2),
        )
    ]
}
"""The fourteen models: v1's, v2's and Kinetics-400's, each from the smallest to the largest."""


def create_model(name: str, **overrides: Any) -> BLVNetTAM:
    """The network of a published model, freshly initialised; `overrides` are arguments of `BLVNetTAM`.

    An unknown name raises ValueError.
    """
    if name not in ZOO:
        raise ValueError(f"no model is called {name}; there are {', '.join(ZOO)}")
    model = ZOO[name]
    arguments: dict[str, Any] = {
        "depth": model.depth,
        "num_frames": model.num_frames,
        "num_classes": model.classes,
        **overrides,
    }
    return BLVNetTAM(**arguments)

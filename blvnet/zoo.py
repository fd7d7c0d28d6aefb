"""The published models by name, with their published scores and sizes."""

from dataclasses import dataclass
from typing import Any

from blvnet.model import BLVNetTAM

CLASSES = 174
"""Classes of Something-Something, both versions."""


@dataclass(frozen=True)
class Published:
    """A published model: its shape, its score and its size.

    `top1` is in percent, on the validation split from one clip and one crop; `parameters` in millions;
    `gmacs` in 10^9 multiply-adds for one clip of 224 x 224.
    """

    name: str
    dataset: str
    depth: int
    num_frames: int
    top1: float
    parameters: float
    gmacs: float


_SIZES = {
    50: (25.02, 23.85),
    101: (40.18, 32.15),
}  # parameters, gmacs at f8x2; the cost grows with the frames
_TOP1 = {  # depth, frame pairs: v1, v2
    (50, 8): (46.4, 59.1),
    (50, 16): (48.4, 61.7),
    (101, 8): (47.8, 60.2),
    (101, 16): (49.6, 61.9),
    (101, 24): (52.2, 64.0),
    (101, 32): (53.1, 65.2),
}

ZOO: dict[str, Published] = {
    model.name: model
    for number, dataset in enumerate(("v1", "v2"))
    for (depth, pairs), top1 in _TOP1.items()
    for model in [
        Published(
            name=f"blvnet-tam-{depth}-f{pairs}x2-{dataset}",
            dataset=dataset,
            depth=depth,
            num_frames=2 * pairs,
            top1=top1[number],
            parameters=_SIZES[depth][0],
            gmacs=round(_SIZES[depth][1] * pairs / 8, 2),
        )
    ]
}
"""The twelve models, v1's and then v2's, each from the smallest to the largest."""


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
        "num_classes": CLASSES,
        **overrides,
    }
    return BLVNetTAM(**arguments)

"""Small folders of optical flow, as extractors write them."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.unit.sharding.videos import CLASSES

NAMES = {
    "words": "flow_{axis}_{number:05d}.jpg",
    "plain": "{axis}_{number:05d}.jpg",
    "behind": "{number}_{axis}.jpg",
    "folders": "{uv}/frame{number}.jpg",
}
"""What extractors call the picture of an axis, x or y (u or v), of a step."""


def level(video: int, step: int, axis: str) -> int:
    """The level that fills a picture: each of a video's is another."""
    return 100 + video + 3 * step if axis == "x" else 30 + video + 2 * step


def field(video: int, step: int, axis: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 (height, width): its level, and darker in the left third."""
    width, height = size
    picture = np.full((height, width), level(video, step, axis), np.uint8)
    picture[:, : width // 3] -= 25
    return picture


def write_flow(
    folder: Path, video: int, steps: int, size: tuple[int, int] = (60, 40), names: str = "words"
) -> Path:
    """The flow of a video."""
    folder.mkdir(parents=True)
    for step in range(steps):
        for axis, uv in (("x", "u"), ("y", "v")):
            file = folder / NAMES[names].format(axis=axis, uv=uv, number=step + 1)
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(field(video, step, axis, size)).save(file, quality=98)
    return folder


def write_flow_set(
    folder: Path, train: int = 8, validation: int = 3, steps: int = 9, size: tuple[int, int] = (60, 40)
) -> tuple[Path, Path]:
    """A Something-Something v2 set of flow; ids count from 1. Returns (annotations, videos)."""
    annotations, videos = folder / "annotations", folder / "flow"
    annotations.mkdir(parents=True)
    number = 0
    for split, count in (("train", train), ("validation", validation)):
        rows = []
        for _ in range(count):
            number += 1
            name = CLASSES[number % len(CLASSES)]
            template = name.replace("something", "[something]")
            rows.append({"id": str(number), "label": name, "template": template, "placeholders": ["a pen"]})
            write_flow(videos / str(number), number, steps + number % 3, size)
        (annotations / f"{split}.json").write_text(json.dumps(rows))
    (annotations / "labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(CLASSES)}))
    return annotations, videos

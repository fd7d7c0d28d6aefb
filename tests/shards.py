"""Small shard sets made in memory for tests of the reading side: each frame tells its sample and its number."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.samples import Sample, Span, checked
from sharding import storage
from sharding.format import manifest, mjpeg
from sharding.format.kinds import with_several_labels
from sharding.format.manifest import Manifest
from sharding.format.shard import Writer
from sharding.format.sidecar import Place, Recipe, load_sidecar, save_sidecar, tar_name

CLASSES = [
    "Pulling [something] from left to right",
    "Pulling [something] from right to left",
    "Spinning [something]",
]


def frame(sample: int, number: int, width: int, height: int) -> NDArray[np.uint8]:
    """uint8 (height, width, 3): red is the sample's number, green the frame's, blue grows from left to right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = sample % 256
    picture[..., 1] = 4 * number
    picture[..., 2] = np.linspace(0, 255, width).astype(np.uint8)
    return picture


def make(
    root: str | Path,
    shards: list[int],
    split: str = "train",
    frames: int = 12,
    width: int = 48,
    height: int = 40,
    labelled: bool = True,
    classes: list[str] = CLASSES,
    picture: Callable[[int, int, int, int], NDArray[np.uint8]] = frame,
    wider: int = 0,
    labels: Callable[[int], tuple[int, ...] | None] | None = None,
) -> Manifest:
    """A split with `shards[i]` samples in shard i; sample s has the key `clip-s` and label s mod 3.

    With `labels` each has several: what that gives for its number. Each sample is `wider` by so many pixels than the
    one before.
    """
    folder = storage.join(str(root), split)
    settings: dict[str, Any] = {"samples_per_shard": max(shards)}
    if labels is not None:
        settings = with_several_labels(settings)
    recipe = Recipe("test", split, classes, settings, "", len(shards))
    sample = 0
    for i, samples in enumerate(shards):
        tar = io.BytesIO()
        writer = Writer(tar)
        for _ in range(samples):
            jpegs = [
                mjpeg.encode_rgb(picture(sample, n, width + sample * wider, height), 95)
                for n in range(frames)
            ]
            sizes = [len(jpeg) for jpeg in jpegs]
            one = sample % len(CLASSES) if labelled else None
            meta = {
                "label": one if labels is None else labels(sample),
                "frames": frames,
                "offsets": np.cumsum([0, *sizes[:-1]]).tolist(),
                "width": width + sample * wider,
                "height": height,
                "fps": 12.0,
            }
            writer.add(f"clip-{sample}", meta, jpegs, sum(sizes))
            sample += 1
        writer.finish()
        place = Place(folder, tar_name(i))
        storage.write_bytes(place.tar_url, tar.getvalue())
        save_sidecar(place.sidecar_url, writer.sidecar(place.tar_name, [], recipe))
    return manifest.finalize(folder)


def samples(split: Manifest, shard: int) -> list[Sample]:
    """The samples of a shard, in order. Raises `pipeline.data.samples.DamagedError`."""
    url = split.shard_url(shard)
    tar = storage.read_bytes(url)
    rows = load_sidecar(split.sidecar_url(shard)).samples
    return [checked(Span(row, url, tar[row.offset : row.offset + row.bytes])) for row in rows]

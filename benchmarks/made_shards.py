"""Shards made without any video: a few clips of drifting texture under many keys, with JPEGs of a film's size."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sharding import storage
from sharding.format import manifest, mjpeg
from sharding.format.manifest import Manifest
from sharding.format.shard import Writer
from sharding.format.sidecar import Place, Recipe, save_sidecar, tar_name

CLASSES = [f"class {number}" for number in range(174)]
_QUALITY, _A_SHARD = 90, 128


def make(
    folder: Path, split: str, samples: int, frames: int, width: int, height: int, films: int = 8
) -> Manifest:
    """`folder`/`split` with so many samples of so many frames; `films` of them differ."""
    where = storage.join(str(folder), split)
    count = -(-samples // _A_SHARD)
    recipe = Recipe("made", split, CLASSES, {"samples_per_shard": _A_SHARD}, "", count)
    known = [
        [mjpeg.encode_rgb(frame, _QUALITY) for frame in _film(n, frames, width, height)] for n in range(films)
    ]
    for shard in range(count):
        tar = io.BytesIO()
        writer = Writer(tar)
        for number in range(shard * _A_SHARD, min(samples, (shard + 1) * _A_SHARD)):
            jpegs = known[number % films]
            sizes = [len(jpeg) for jpeg in jpegs]
            meta = {
                "label": number % len(CLASSES),
                "frames": frames,
                "offsets": np.cumsum([0, *sizes[:-1]]).tolist(),
                "width": width,
                "height": height,
                "fps": 12.0,
            }
            writer.add(f"video-{number}", meta, jpegs, sum(sizes))
        writer.finish()
        place = Place(where, tar_name(shard))
        storage.write_bytes(place.tar_url, tar.getvalue())
        save_sidecar(place.sidecar_url, writer.sidecar(place.tar_name, [], recipe))
    return manifest.finalize(where)


def _film(number: int, frames: int, width: int, height: int) -> list[NDArray[np.uint8]]:
    """Smooth shapes and some grain, which moves from frame to frame; uint8 (height, width, 3) each."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3))
    texture = np.kron(coarse, np.ones((16, 16, 1)))
    for axis in (0, 1):
        texture = np.mean([np.roll(texture, step, axis) for step in range(12)], axis=0)
    texture += rng.normal(0, 4, texture.shape)
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    return [
        np.ascontiguousarray(np.roll(texture, (step, 2 * step), (0, 1))[:height, :width])
        for step in range(frames)
    ]

"""The same clips through other libraries' loaders, which hold the very same JPEGs; for `benchmarks.loader`.

Each reads its own format in its own order, decodes the chosen frames with torchvision, crops and resizes them in one
call a clip. webdataset: a tar with one member a frame. litdata and mosaicml-streaming: one blob of JPEGs a sample.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from pipeline.data.transforms import TrainTransform, mirror_labels

Choose = Callable[[str], tuple[NDArray[np.int64], np.random.Generator]]
"""The frames of the video with a key, and the random numbers that decide its crop."""
Videos = dict[str, list[bytes]]
Reader = Callable[[], Iterable[tuple[str, Sequence[bytes]]]]
"""One pass over all videos: keys and JPEGs."""


def make_batches(videos: Iterable[tuple[str, Sequence[bytes]]], choose: Choose, size: int, batch: int) -> int:
    """Decode, cut and stack all `videos`; returns how many there were."""
    transform = TrainTransform(size, (1.0, 0.875, 0.75, 0.66), "reference", mirror_labels([""]))
    clips: list[Tensor] = []
    count = 0
    for key, jpegs in videos:
        indices, rng = choose(key)
        encoded = [torch.frombuffer(bytearray(jpegs[i]), dtype=torch.uint8) for i in indices]
        frames = torch.stack(decode_jpeg(encoded, mode=ImageReadMode.RGB))
        (x, y, w, h), flip, _ = transform.choose(frames.shape[-1], frames.shape[-2], 0, rng)
        clip = functional.resized_crop(frames, y, x, h, w, [size, size], antialias=True)
        clips.append(functional.horizontal_flip(clip) if flip else clip)
        count += 1
        if len(clips) == batch:
            torch.stack(clips)
            clips = []
    return count


def with_webdataset(videos: Videos, folder: Path) -> Reader:
    """Plain webdataset, one JPEG member a frame."""
    path = folder / "frames.tar"
    with tarfile.open(path, "w") as tar:
        for key, jpegs in videos.items():
            for i, jpeg in enumerate(jpegs):
                member = tarfile.TarInfo(f"{key}.{i:05d}.jpg")
                member.size = len(jpeg)
                tar.addfile(member, BytesIO(jpeg))

    def read() -> Iterator[tuple[str, Sequence[bytes]]]:
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            names = sorted(name for name in sample if name.endswith(".jpg"))
            yield sample["__key__"], [sample[name] for name in names]

    return read


def with_litdata(videos: Videos, folder: Path) -> Reader:
    """litdata's chunks of 64 MB."""
    import litdata

    out = str(folder / "litdata")
    writer = litdata.streaming.Cache(out, chunk_bytes="64MB")
    for i, (key, jpegs) in enumerate(videos.items()):
        writer[i] = blob(key, jpegs)
    writer.done()
    writer.merge()
    return lambda: map(split, litdata.StreamingDataset(out))


def with_mosaicml(videos: Videos, folder: Path) -> Reader:
    """mosaicml-streaming's MDS shards of 64 MB."""
    import streaming

    out = str(folder / "mds")
    columns = {"key": "str", "blob": "bytes", "ends": "json"}
    with streaming.MDSWriter(out=out, columns=columns, size_limit=1 << 26) as writer:
        for key, jpegs in videos.items():
            writer.write(blob(key, jpegs))
    return lambda: map(split, streaming.StreamingDataset(local=out, batch_size=1))


def blob(key: str, jpegs: Sequence[bytes]) -> dict[str, Any]:
    """A sample of one blob."""
    return {"key": key, "blob": b"".join(jpegs), "ends": np.cumsum([len(jpeg) for jpeg in jpegs]).tolist()}


def split(sample: dict[str, Any]) -> tuple[str, Sequence[bytes]]:
    """Its key and JPEGs."""
    return sample["key"], [sample["blob"][a:b] for a, b in pairwise([0, *sample["ends"]])]

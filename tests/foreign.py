"""Tars as other programs make them: img2dataset, video2dataset, webdataset's own writer, and odd ones."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharding.foreign.index import Request, index
from sharding.format import mjpeg
from sharding.format.manifest import Manifest
from tests.shards import frame

Files = Iterable[tuple[str, bytes]]


def tar(path: Path, files: Files, form: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as made:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


def jpeg(sample: int, number: int = 0, width: int = 48, height: int = 40) -> bytes:
    """The picture of `tests.shards.frame`."""
    return mjpeg.encode_rgb(frame(sample, number, width, height), 95)


def picture(kind: str, sample: int, width: int = 48, height: int = 40) -> bytes:
    """The same as PNG or WebP, lossless."""
    out = io.BytesIO()
    Image.fromarray(frame(sample, 0, width, height)).save(out, kind, lossless=True)
    return out.getvalue()


def film(
    sample: int,
    frames: int = 12,
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    kind: str = "mp4",
) -> bytes:
    """A film whose frame n is gray of brightness 16 + 8 n, with a red that tells the sample."""
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            pixels: NDArray[np.uint8] = np.full((height, width, 3), 16 + 8 * number, np.uint8)
            pixels[: height // 2, :, 0] = 20 * (sample % 10)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def img2dataset(folder: Path, shards: list[int], width: int = 48) -> list[Path]:
    """Shards as img2dataset writes them: `00000.tar` of `000000000.jpg`, `.json` and `.txt`; caption `class-K`."""
    paths, sample = [], 0
    for number, count in enumerate(shards):
        files: list[tuple[str, bytes]] = []
        for i in range(count):
            key = f"{number:05d}{i:04d}"
            about = {
                "url": f"https://example.org/{sample}.jpg",
                "key": key,
                "status": "success",
                "class": sample % 3,
                "width": width,
            }
            files += [
                (f"{key}.jpg", jpeg(sample, width=width)),
                (f"{key}.json", json.dumps(about).encode()),
                (f"{key}.txt", f"class-{sample % 3}".encode()),
            ]
            sample += 1
        paths.append(tar(folder / f"{number:05d}.tar", files))
    return paths


def video2dataset(folder: Path, shards: list[int], made: Callable[[int], bytes] = film) -> list[Path]:
    """Shards as video2dataset writes them: `.mp4`, `.txt` and `.json` of each sample; caption `class-K`."""
    paths, sample = [], 0
    for number, count in enumerate(shards):
        files: list[tuple[str, bytes]] = []
        for i in range(count):
            key = f"{number:05d}_{i:04d}"
            about = {"key": key, "status": "success", "yt_meta_dict": {"info": {"class": sample % 3}}}
            files += [
                (f"{key}.json", json.dumps(about).encode()),
                (f"{key}.mp4", made(sample)),
                (f"{key}.txt", f"class-{sample % 3}".encode()),
            ]
            sample += 1
        paths.append(tar(folder / f"{number:05d}.tar", files))
    return paths


def indexed(urls: Iterable[str | Path], out: Path | str, **options: str) -> Manifest:
    """The index of tars, as the command makes it."""
    return index(Request([str(url) for url in urls], str(out), **options)).made

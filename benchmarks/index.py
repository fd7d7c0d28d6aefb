"""Tars of pictures that others made: indexing them beside `tar tvf`, and loading them beside webdataset's own loader.

    python -m benchmarks.index --samples 4000 > benchmarks/results/index.md

The tars are as img2dataset leaves them: a JPEG, a caption and a JSON a sample, of 256x256 pixels or of 640x480. All
sides run in turn in one process with one thread; the page cache has the tars. Both loaders make training pictures of
224x224, uint8, in batches, cut at random and flipped at random: webdataset's with its own decoder and torchvision's
transforms. What is said is of processor time, with the clock's beside it.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
import torch
import webdataset
from torchvision.transforms import v2

from pipeline import config
from pipeline.data.clips import train_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding.foreign.index import Request, index
from sharding.format import mjpeg
from sharding.format.manifest import Manifest

SIZES = ((256, 256), (640, 480))
BATCH, TURNS, A_TAR = 32, 5, 500
Cost = tuple[float, float]
"""Seconds of processor time, and by the clock."""


def make(folder: Path, samples: int, width: int, height: int) -> int:
    """Tars of so many samples; returns their bytes."""
    known = [_jpeg(number, width, height) for number in range(16)]
    for start in range(0, samples, A_TAR):
        with tarfile.open(folder / f"{start // A_TAR:05d}.tar", "w") as tar:
            for number in range(start, min(start + A_TAR, samples)):
                key, about = f"{number:09d}", json.dumps({"key": f"{number:09d}", "status": "success"})
                caption = f"class {number % 10}".encode()
                for end, data in (("jpg", known[number % 16]), ("json", about.encode()), ("txt", caption)):
                    info = tarfile.TarInfo(f"{key}.{end}")
                    info.size = len(data)
                    tar.addfile(info, BytesIO(data))
    return sum(file.stat().st_size for file in folder.iterdir())


def _jpeg(number: int, width: int, height: int) -> bytes:
    """Smooth shapes and some grain, at quality 90."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3))
    picture = np.kron(coarse, np.ones((16, 16, 1))) + rng.normal(0, 6, (height, width, 3))
    return mjpeg.encode_rgb(np.clip(picture, 0, 255).astype(np.uint8), 90)


def ours(split: Manifest) -> Callable[[], int]:
    """One epoch of the exact stream; returns how many pictures."""
    tree = {"data": {"root": "unused", "size": 224, "short_side": 256}, "run": {"folder": "unused"}}
    cutter = train_cutter(config.override(tree, ["model.num_frames=1"], "benchmark"), split.classes)

    def epoch() -> int:
        stream = ClipStream(split, cutter, plan.Order(0, 64, 1024), Passes(BATCH), 0, 1)
        return sum(len(batch.clips) for batch in batches(stream, 0))

    return epoch


def theirs(tars: list[str], decoder: str) -> Callable[[], int]:
    """One epoch of webdataset's loader."""
    steps = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    transform = v2.Compose([v2.PILToTensor(), *steps] if decoder == "pil" else steps)

    def epoch() -> int:
        found = webdataset.WebDataset(tars, shardshuffle=len(tars)).shuffle(1000).decode(decoder)
        pairs = found.to_tuple("jpg", "txt").map_tuple(transform, len).batched(BATCH, partial=False)
        return sum(len(pictures) for pictures, _ in pairs)

    return epoch


def cost(work: Callable[[], object]) -> Cost:
    """What `work` takes, programs that it starts included."""
    before = _cpu(), time.perf_counter()
    work()
    return _cpu() - before[0], time.perf_counter() - before[1]


def _cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def list_all(tars: list[str]) -> None:
    """`tar tvf` of each, which passes over contents, and reads no byte of them."""
    for tar in tars:
        subprocess.run(["tar", "tvf", tar], check=True, stdout=subprocess.DEVNULL)


def pipe_all(tars: list[str]) -> None:
    """The same from a pipe, where every byte is read."""
    for tar in tars:
        subprocess.run(f"cat {tar} | tar tvf -", shell=True, check=True, stdout=subprocess.DEVNULL)


def measured(samples: int, width: int, height: int) -> list[str]:
    """The rows of one size of pictures."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "tars")
        folder.mkdir()
        size = make(folder, samples, width, height) / 1e6
        tars = [str(file) for file in sorted(folder.iterdir())]
        request = Request([str(folder)], f"{work}/index/train", label="txt")
        split = index(request).made
        sides: dict[str, Callable[[], object]] = {
            "`blvnet-shard index`": lambda: index(request),
            "`tar tvf`": lambda: list_all(tars),
            "`cat`, `tar tvf -`": lambda: pipe_all(tars),
            "this loader": ours(split),
            "webdataset, its decoder to tensors": theirs(tars, "torchrgb8"),
            "webdataset, its decoder by PIL": theirs(tars, "pil"),
        }
        found: dict[str, list[Cost]] = {name: [] for name in sides}
        for turn in range(TURNS + 1):
            for name, side in sides.items():
                one = cost(side)
                if turn:  # the first one fills caches and imports
                    found[name].append(one)
    rows = []
    for name, costs in found.items():
        cpu, clock = (median(column) for column in zip(*costs, strict=True))
        cells = (f"{size / cpu:.0f} MB/s", f"{size / clock:.0f} MB/s")
        if "loader" in name or "webdataset" in name:
            cells = (f"{samples / cpu:.0f} samples/s", f"{samples / clock:.0f} samples/s")
        rows.append(f"| {width}x{height}, {1e3 * size / samples:.0f} kB | {name} | {cells[0]} | {cells[1]} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4000, help="in the tars of each size (default: 4000)")
    samples = parser.parse_args().samples
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rows = [row for size in SIZES for row in measured(samples, *size)]
    print("# Tars of pictures that others made\n")
    versions = f"webdataset {webdataset.__version__}, torch {torch.__version__}"
    print(
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, {versions}; "
        f"`python -m benchmarks.index --samples {samples}`; medians of {TURNS} turns. "
        f"Load average: {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end.\n"
    )
    print("| pictures | side | a second of one core's time | by the clock |\n|---|---|---|---|")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()

"""Training clips a second on one core: the product's loader, JPEG decoding alone, other loaders and other decoders.

    python -m benchmarks.loader [FOLDER] [--others FOLDER] > benchmarks/results/loader.md

Clips of 16 frames, 224x224, from videos of 45 frames of 455x256: every side gets the same samples in the same order
and the same frames of them. The sides take turns, an epoch each; the figures are medians over the turns, the shares
medians of each turn's own. Time is the process's own (others may use the core too), with the threads of all libraries
in it. All data is in the page cache. FOLDER (default: a temporary one) keeps the inputs for another run.

`--others` has libraries that the project does not use, and their own needs but torch, torchvision and numpy:

    pip install --no-deps --target FOLDER mosaicml-streaming litdata torchcodec spdl spdl-io spdl-core \\
        nvidia-dali-cuda130 'nvidia-nvimgcodec-cu13<0.10' optree makefun nvtx 'libcst<1.9.1' gast astunparse six

What is not there, or does not load, is named in the results with the reason.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks import other_decoders, other_loaders, videos
from benchmarks.machine import cpu
from benchmarks.other_decoders import Wanted
from pipeline import config as configuration
from pipeline.data import sampling
from pipeline.data.clips import train_cutter
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.loader import batches
from pipeline.data.samples import checked
from pipeline.data.stream import ClipStream, Passes
from pipeline.data.transforms import TrainTransform, mirror_labels
from pipeline.order import plan
from sharding.format import header, manifest, turbojpeg
from sharding.format.manifest import Manifest

VIDEOS, TURNS, BATCH = 48, 7, 8
FRAMES, SIZE, SCALES = 16, 224, (1.0, 0.875, 0.75, 0.66)
ORDER = plan.Order(seed=0, lanes=1, window=256)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Clip:
    """A sample of an epoch, as the other sides get it: its JPEGs in memory and as files."""

    jpegs: list[bytes]
    files: list[Path]
    epoch: int
    number: int

    def choose(self) -> tuple[NDArray[np.int64], np.random.Generator]:
        """The frames that the product takes, and the random numbers that then decide its crop."""
        rng = plan.augmentation_rng(ORDER.seed, self.epoch, self.number)
        return sampling.segment_indices(len(self.jpegs), FRAMES, rng), rng


Side = Callable[[list[Clip]], None]
"""Takes one turn: makes all of an epoch's clips."""


def product(shards: Manifest) -> Side:
    """From the shards' folder to batches, in this process: what `pipeline.train` reads from."""
    overrides = [f"data.root={Path(shards.root).parent}", "run.folder=unused"]
    config = configuration.load("configs/blvnet-tam-50-f8x2-v2.yaml", overrides)
    assert (config.model.num_frames, config.data.size, config.data.scales) == (FRAMES, SIZE, SCALES)
    cutter = train_cutter(config, shards.classes)
    stream = ClipStream(shards, cutter, ORDER, Passes(BATCH, epochs=1 + TURNS), rank=0, ranks=1)
    made = batches(stream, workers=0)

    def turn(clips: list[Clip]) -> None:
        for start in range(0, len(clips), BATCH):
            batch = next(made)
            assert (batch.epoch, batch.numbers[0]) == (clips[start].epoch, clips[start].number)

    return turn


def reading(shards: Manifest) -> Side:
    """The product's reading alone: sidecar, ranged read, CRC-32, tar members, JSON, order."""

    def turn(clips: list[Clip]) -> None:
        assert sum(
            1 for _ in map(checked, LaneReader(shards, epoch_of(shards, ORDER, clips[0].epoch), lane=0))
        ) == len(clips)

    return turn


def checking(shards: Manifest) -> Side:
    """The CRC-32 of every sample alone, over bytes that are in memory."""
    spans = [span.content for span in LaneReader(shards, epoch_of(shards, ORDER, 0), lane=0)]

    def turn(clips: list[Clip]) -> None:
        for span in spans:
            isal_zlib.crc32(span)

    return turn


def other(reader: other_loaders.Reader) -> Side:
    """Another library's loader, in its own order."""

    def turn(clips: list[Clip]) -> None:
        by_key = {clip.files[0].parent.name: clip for clip in clips}
        assert other_loaders.make_batches(reader(), lambda key: by_key[key].choose(), SIZE, BATCH) == len(
            clips
        )

    return turn


def decoder(maker: other_decoders.Maker) -> Side:
    """Another library's decoder, from JPEGs in memory to batches."""

    def turn(clips: list[Clip]) -> None:
        maker([wanted(clip) for clip in clips])

    return turn


def wanted(clip: Clip) -> Wanted:
    """What the product makes of it, but for the labels' part in flips."""
    indices, rng = clip.choose()
    found = header.read(clip.jpegs[0])
    transform = TrainTransform(SIZE, SCALES, "reference", mirror_labels([""]))
    box, flip, _ = transform.choose(found.width, found.height, 0, rng)
    return Wanted([clip.jpegs[i] for i in indices], box, flip)


def decoding(clips: list[Clip]) -> None:
    """JPEG decoding alone: the clips' frames, from memory into one buffer."""
    buffer = np.empty_like(simplejpeg.decode_jpeg(clips[0].jpegs[0]))
    for clip in clips:
        for i in clip.choose()[0]:
            simplejpeg.decode_jpeg(clip.jpegs[i], colorspace="RGB", buffer=buffer)


def plain_pil(clips: list[Clip]) -> None:
    """One file a frame: open, crop, resize, stack, float, normalise, channel by channel; then batches."""
    for start in range(0, len(clips), BATCH):
        torch.stack([pil_clip(clip) for clip in clips[start : start + BATCH]])


def pil_clip(clip: Clip) -> Tensor:
    """float32 (frames * 3, SIZE, SIZE)."""
    indices, rng = clip.choose()
    pictures = [Image.open(clip.files[i]).convert("RGB") for i in indices]
    transform = TrainTransform(SIZE, SCALES, "none", mirror_labels([]))
    (x, y, w, h), _, _ = transform.choose(*pictures[0].size, 0, rng)
    pictures = [picture.crop((x, y, x + w, y + h)) for picture in pictures]
    pictures = [picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR) for picture in pictures]
    if rng.random() < 0.5:
        pictures = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures]
    stacked = np.concatenate([np.asarray(picture) for picture in pictures], axis=2)
    tensor = torch.from_numpy(stacked).permute(2, 0, 1).contiguous().float().div(255)
    for channel, mean, std in zip(tensor, MEAN * FRAMES, STD * FRAMES, strict=True):
        channel.sub_(mean).div_(std)
    return tensor


def prepare(folder: Path) -> Manifest:
    """Videos and shards in `folder`, made with the product's own command unless they are there."""
    table = folder / "videos/videos.csv"
    if not table.exists():
        videos.make(folder / "videos", VIDEOS)
    inputs = ["--dataset=csv", f"--annotations={table}", f"--videos={table.parent}"]
    command = [sys.executable, "-m", "sharding.cli", "build", *inputs, f"--out={folder}/shards"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return manifest.load(f"{folder}/shards/train")


def unpacked(shards: Manifest, folder: Path) -> dict[str, tuple[list[bytes], list[Path]]]:
    """Each video's JPEGs, by its key: the bytes, and one file each."""
    found = {}
    for sample in map(checked, LaneReader(shards, epoch_of(shards, ORDER, 0), lane=0)):
        ends = [*sample.meta.offsets[1:], len(sample.blob)]
        jpegs = [bytes(sample.blob[a:b]) for a, b in zip(sample.meta.offsets, ends, strict=True)]
        files = [folder / sample.row.key / f"{i:05d}.jpg" for i in range(1, len(jpegs) + 1)]
        files[0].parent.mkdir(parents=True, exist_ok=True)
        for file, jpeg in zip(files, jpegs, strict=True):
            file.write_bytes(jpeg)
        found[sample.row.key] = jpegs, files
    return found


def measure(sides: dict[str, Side], epochs: list[list[Clip]]) -> dict[str, list[float]]:
    """Clips a second of each side in each epoch but the first, which warms up."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for clips in epochs:
        for name, side in sides.items():
            start = time.process_time()
            side(clips)
            rates[name].append(len(clips) / (time.process_time() - start))
        print(*(f"{name} {rate[-1]:.1f}" for name, rate in rates.items()), sep=", ", file=sys.stderr)
    return {name: rate[1:] for name, rate in rates.items()}


def sides_of_others(jpegs: other_loaders.Videos, folder: Path) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides of `--others`, and why the rest of them has none."""
    builders: dict[str, Callable[[], Side]] = {
        "litdata, torchvision": lambda: other(other_loaders.with_litdata(jpegs, folder)),
        "mosaicml-streaming, torchvision": lambda: other(other_loaders.with_mosaicml(jpegs, folder)),
        "torchcodec, JPEGs in memory": lambda: decoder(other_decoders.with_torchcodec(SIZE, BATCH)),
        "SPDL, JPEGs in memory": lambda: decoder(other_decoders.with_spdl(SIZE, BATCH)),
        "DALI on the CPU, JPEGs in memory": lambda: decoder(other_decoders.with_dali(SIZE, BATCH)),
    }
    sides, missing = {}, {}
    for name, build in builders.items():
        try:
            sides[name] = build()
        except (ImportError, OSError, RuntimeError) as error:
            missing[name] = f"{error}".partition("\n")[0][:200]
    return sides, missing


def report(rates: dict[str, list[float]], shards: Manifest, load: float, missing: dict[str, str]) -> str:
    """The results file; `load`: how many programs ran before the measurement; `missing`: sides, and why."""

    def share(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))

    lines = [
        "# Loader: training clips a second on one core",
        "",
        f"{date.today()}, one core of {os.cpu_count()} ({cpu()}), torch {torch.__version__}, "
        f"{'libturbojpeg 3' if turbojpeg.available() else 'no libturbojpeg 3'}; "
        f"`python -m benchmarks.loader`. Load average before it: {load:.1f}.",
        "",
        f"{shards.samples} videos of {shards.frames // shards.samples} frames, 427x240 VP9, sharded with the default "
        f"settings (455x256, quality 90, {shards.bytes / shards.frames / 1000:.1f} kB a frame). Clips of {FRAMES} "
        f"frames, {SIZE}x{SIZE}. Medians of {TURNS} interleaved turns of {shards.samples} clips; page cache warm; "
        "the process's own time, since other programs shared the cores.",
        "",
        "| | clips/s | lowest to highest | of decoding alone |",
        "|---|---|---|---|",
    ]
    for name, rate in rates.items():
        figures = f"{statistics.median(rate):.1f} | {min(rate):.1f} to {max(rate):.1f}"
        lines.append(f"| {name} | {figures} | {share(name, 'JPEG decoding alone'):.2f} |")
    lines += [
        "",
        f"This loader: {share('this loader', 'JPEG decoding alone'):.2f} of JPEG decoding alone (aim: 0.85), "
        f"{share('this loader', 'plain PIL loader'):.2f} times the plain PIL loader (aim: 4). CRC-32 takes "
        f"{share('this loader', 'CRC-32 alone'):.1%} of its time (aim: under 3 %).",
        "",
        "The loader hands over uint8 clips; they become normalised floats on the device. The PIL loader's are "
        "normalised floats, made on the CPU. What takes its JPEGs from memory reads, checks and orders nothing.",
    ]
    lines += [f"\nNot measured: {name} ({reason})." for name, reason in missing.items()]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the inputs (default: a temporary folder)")
    parser.add_argument("--others", type=Path, help="where other libraries are installed")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="loader-benchmark.") as temporary:
        folder = args.folder or Path(temporary)
        shards = prepare(folder)
        videos_in_memory = unpacked(shards, folder / "frames")
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
        epochs = [
            [
                Clip(*videos_in_memory[sample.row.key], epoch, number)
                for number, sample in enumerate(
                    map(checked, LaneReader(shards, epoch_of(shards, ORDER, epoch), lane=0))
                )
            ]
            for epoch in range(1 + TURNS)
        ]
        sides = {
            "this loader": product(shards),
            "its reading alone": reading(shards),
            "CRC-32 alone": checking(shards),
            "JPEG decoding alone": decoding,
            "plain PIL loader": plain_pil,
        }
        jpegs = {key: found for key, (found, _) in videos_in_memory.items()}
        made = Path(temporary)
        sides["plain webdataset, torchvision"] = other(other_loaders.with_webdataset(jpegs, made))
        missing = {"ffcv": "no wheel, and its build asks for an installed OpenCV"}
        if args.others:
            sys.path.append(str(args.others))
            found, reasons = sides_of_others(jpegs, made)
            sides, missing = sides | found, missing | reasons
        print(report(measure(sides, epochs), shards, load, missing))


if __name__ == "__main__":
    main()

"""JPEG decoding on the GPU, to clips that are ready to train on, beside one core of the loader.

    python -m benchmarks.gpu_decode [FOLDER] [--device cuda] > benchmarks/results/gpu_decode.md

The same frames of the same clips: nvJPEG through `torchvision.io.decode_jpeg` in batches of whole frames, then crop and
antialiased resize on the device; and this loader's worker (decode, crop, resize into a batch), on one core. FOLDER is
that of `benchmarks.loader`. `--device cpu` tries the program where there is no GPU; its figures mean nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.utils.dlpack
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from benchmarks.loader import BATCH, FRAMES, ORDER, SCALES, SIZE, TURNS, prepare
from pipeline.data import sampling
from pipeline.data.inputs import FrameDecoder
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.samples import Sample, checked
from pipeline.data.stream import empty_clips
from pipeline.data.transforms import Box, TrainTransform, mirror_labels, resize_into
from pipeline.order import plan

Clip = tuple[Sample, NDArray[np.int64], Box]


def chosen(samples: list[Sample]) -> list[Clip]:
    """Each sample with the frames and the box of a training clip of it."""
    transform = TrainTransform(SIZE, SCALES, "none", mirror_labels([]))
    clips = []
    for number, sample in enumerate(samples):
        rng = plan.augmentation_rng(ORDER.seed, 0, number)
        indices = sampling.segment_indices(sample.row.frames, FRAMES, rng)
        clips.append((sample, indices, transform.choose(sample.meta.width, sample.meta.height, 0, rng).box))
    return clips


def jpegs(sample: Sample, indices: NDArray[np.int64]) -> list[Tensor]:
    """These frames, encoded, as torchvision takes them."""
    ends = [*sample.meta.offsets[1:], len(sample.blob)]
    spans = [(sample.meta.offsets[i], ends[i]) for i in indices]
    return [torch.frombuffer(bytearray(sample.blob[start:end]), dtype=torch.uint8) for start, end in spans]


Decoder = Callable[[list[Tensor]], list[Tensor]]
"""Encoded frames to uint8 (3, height, width) each, on a device."""


def with_torchvision(device: torch.device) -> Decoder:
    return lambda encoded: decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)


def with_torchcodec(device: torch.device) -> Decoder:
    from torchcodec.decoders import decode_jpeg as decode

    return lambda encoded: list(decode(encoded, mode="RGB", device=str(device)))


def with_nvimagecodec(device: torch.device) -> Decoder:
    from nvidia import nvimgcodec

    decoder = nvimgcodec.Decoder(device_id=device.index or 0)

    def decode(encoded: list[Tensor]) -> list[Tensor]:
        pictures = decoder.decode([frame.numpy() for frame in encoded])
        return [torch.utils.dlpack.from_dlpack(picture.to_dlpack()).movedim(-1, 0) for picture in pictures]

    return decode


DECODERS = {
    "torchvision": with_torchvision,
    "torchcodec": with_torchcodec,
    "nvImageCodec": with_nvimagecodec,
}
"""Those that decode a list of JPEGs in one call, by nvJPEG; the last two are packages of their own."""


def on_device(clips: list[Clip], device: torch.device, decode: Decoder | None = None) -> Tensor:
    """A batch, uint8 (clips, frames, 3, SIZE, SIZE), decoded in one call and cut clip by clip."""
    encoded = [jpeg for sample, indices, _ in clips for jpeg in jpegs(sample, indices)]
    frames = torch.stack((decode or with_torchvision(device))(encoded))
    parts = []
    for part, (_, _, (x, y, w, h)) in zip(frames.split(FRAMES), clips, strict=True):
        parts.append(functional.resized_crop(part, y, x, h, w, [SIZE, SIZE], antialias=True))
    return torch.stack(parts)


def on_core(clips: list[Clip], decode: FrameDecoder) -> Tensor:
    """The same by this loader."""
    batch = empty_clips(len(clips), (FRAMES, 3, SIZE, SIZE))
    for out, (sample, indices, box) in zip(batch, clips, strict=True):
        resize_into(decode(sample, indices, box), out)
    return batch


def rate(make: Callable[[list[Clip]], Tensor], clips: list[Clip]) -> float:
    """Clips a second in one turn through all `clips`, the device's work included."""
    start = time.perf_counter()
    for first in range(0, len(clips), BATCH):
        made = make(clips[first : first + BATCH])
    if made.is_cuda:
        torch.cuda.synchronize()
    return len(clips) / (time.perf_counter() - start)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_decode")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the inputs (default: a temporary folder)")
    parser.add_argument("--device", default="cuda", type=torch.device)
    args = parser.parse_args()
    if args.device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no GPU here")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="gpu-decode-benchmark.") as temporary:
        split = prepare(args.folder or Path(temporary))
        clips = chosen(list(map(checked, LaneReader(split, epoch_of(split, ORDER, 0), lane=0))))
        decode = FrameDecoder()
        sides = {
            "on the device": lambda some: on_device(some, args.device),
            "on one core": lambda some: on_core(some, decode),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(1 + TURNS):
            for name, make in sides.items():
                found = rate(make, clips)
                if turn:
                    rates[name].append(found)
        some = clips[:BATCH]
        differences = (on_device(some, args.device).cpu().int() - on_core(some, decode).int()).abs()
    name = torch.cuda.get_device_name() if args.device.type == "cuda" else "no GPU"
    ratio = median(a / b for a, b in zip(*rates.values(), strict=True))
    print(
        f"# JPEG decoding on the GPU\n\n{date.today()}, {name}, {os.cpu_count()} cores, torch {torch.__version__}; "
        f"`python -m benchmarks.gpu_decode`. Clips of {FRAMES} frames, {SIZE}x{SIZE}, {BATCH} a batch.\n\n"
        "| | clips/s: median | lowest to highest |\n|---|---|---|"
    )
    for side, found_rates in rates.items():
        print(f"| {side} | {median(found_rates):.0f} | {min(found_rates):.0f} to {max(found_rates):.0f} |")
    print(
        f"\nThe device does the work of {ratio:.1f} cores, while it does not train. Pixels differ by "
        f"{differences.float().mean():.2f} of 255 on average, {int(differences.max())} at most."
    )


if __name__ == "__main__":
    main()

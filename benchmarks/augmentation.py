"""What a training clip costs with and without RandAugment, jitter, mixup and repeats, on one core; and on a GPU.

    python -m benchmarks.augmentation [FOLDER] > benchmarks/results/augmentation.md

Clips of 16 frames, 224x224, from the loader benchmark's videos. The sides take turns, an epoch each, all from the same
samples in memory; the figures are medians over the turns. Time is the process's own. FOLDER keeps the inputs.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.loader import BATCH, FRAMES, ORDER, SIZE, prepare
from benchmarks.machine import cpu
from pipeline import config as configuration
from pipeline.augmentation.batches import changer
from pipeline.config import Augment
from pipeline.data.batch import Batch
from pipeline.data.clips import train_cutter
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.samples import checked
from pipeline.data.stream import empty_clips
from pipeline.order import plan

TURNS = 5
SIDES = {
    "cutting: decoding, crop, resizing, flip": (Augment(), 1),
    "cutting two clips of each video (`data.repeats=2`)": (Augment(), 2),
    "cutting four": (Augment(), 4),
    "cutting and jitter (0.4)": (Augment(jitter=0.4), 1),
    "cutting and mixup (0.2)": (Augment(mixup=0.2), 1),
    "cutting and RandAugment (2 operations at 0.9)": (Augment(operations=2), 1),
    "cutting, RandAugment and mixup, as `recipe=recommended`": (Augment(operations=2, mixup=0.2), 1),
}
"""What is done to each clip, and the clips of a video."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augmentation")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the inputs (default: a temporary folder)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="augmentation-benchmark.") as temporary:
        split = prepare(args.folder or Path(temporary))
        samples = list(map(checked, LaneReader(split, epoch_of(split, ORDER, 0), lane=0)))
    torch.set_num_threads(1)
    overrides = [f"data.root={Path(split.root).parent}", "run.folder=unused"]
    cutters = {}
    for _, repeats in SIDES.values():
        config = configuration.load("blvnet-tam-50-f8x2-v2", [*overrides, f"data.repeats={repeats}"])
        cutters[repeats] = train_cutter(config, split.classes)

    def cut(epoch: int, start: int, repeats: int) -> Batch:
        cutter, numbers = cutters[repeats], list(range(start, start + BATCH))
        clips = empty_clips(BATCH, cutter.shape(samples[start]))
        labels = [
            cutter(samples[n], plan.augmentation_rng(0, epoch, n), clip)
            for n, clip in zip(numbers, clips, strict=True)
        ]
        return Batch(epoch, 0, numbers, [samples[n].row.key for n in numbers], torch.tensor(labels), clips)

    starts = range(0, len(samples) - BATCH + 1, BATCH)
    made = len(starts) * BATCH
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    for epoch in range(TURNS):
        for name, (augment, repeats) in SIDES.items():
            change, begun = changer(augment, 0, repeats), time.process_time()
            for start in starts:
                change(cut(epoch, start, repeats))
            found[name].append((time.process_time() - begun) / (made * repeats))
        print({name: f"{1000 * times[-1]:.1f} ms" for name, times in found.items()}, file=sys.stderr)
    on_gpu = gpu(cut(0, 0, 1)) if torch.cuda.is_available() else {}
    print(report(found, on_gpu, made, load))


def gpu(batch: Batch) -> dict[str, float]:
    """Seconds a clip of what is done on the device, all kernels waited for."""
    device = torch.device("cuda")
    clips, labels = batch.clips.to(device), batch.labels.to(device)
    found = {}
    for name, (augment, repeats) in SIDES.items():
        if augment == Augment() or repeats > 1:
            continue
        times = [
            _timed(changer(augment, seed), Batch(0, 0, batch.numbers, batch.keys, labels, clips.clone()))
            for seed in range(20)
        ]
        found[name] = statistics.median(times[5:]) / len(batch.numbers)
    return found


def _timed(change: Callable[[Batch], Batch], batch: Batch) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    changed: Tensor = change(batch).clips
    torch.cuda.synchronize(changed.device)
    return time.perf_counter() - begun


def report(found: dict[str, list[float]], on_gpu: dict[str, float], made: int, load: float) -> str:
    """The results file; `load`: how many programs ran before the measurement."""
    device = torch.cuda.get_device_name() if on_gpu else "no GPU"
    plain = statistics.median(next(iter(found.values())))
    lines = [
        "# Augmentation: what it adds to a training clip",
        "",
        f"{date.today()}, one core of {os.cpu_count()} ({cpu()}), torch {torch.__version__}, "
        f"{device}; `python -m benchmarks.augmentation`. Load average before it: {load:.1f}.",
        "",
        f"Clips of {FRAMES} frames, {SIZE}x{SIZE}, from samples in memory, in batches of {BATCH}. Medians of {TURNS} "
        f"interleaved turns of {made} clips; the process's own time.",
        "",
        "| | ms a clip on a core | lowest to highest | times cutting |"
        + (" ms a clip on the GPU |" if on_gpu else ""),
        "|---|---|---|---|" + ("---|" if on_gpu else ""),
    ]
    for name, times in found.items():
        middle = statistics.median(times)
        figures = (
            f"{1000 * middle:.1f} | {1000 * min(times):.1f} to {1000 * max(times):.1f} | {middle / plain:.2f}"
        )
        extra = f" {1000 * on_gpu[name]:.2f} |" if name in on_gpu else " |" if on_gpu else ""
        lines.append(f"| {name} | {figures} |{extra}")
    lines += [
        "",
        "So pixels are changed behind the loader, on the device that trains: on a core RandAugment costs more than "
        "making the clip, and the loader is what limits training on a GPU.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

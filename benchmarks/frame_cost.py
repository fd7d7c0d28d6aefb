"""What each way of making a frame's JPEG costs, and what was tried to make it cheaper.

    python -m benchmarks.frame_cost [--turns N] [--out benchmarks/results/frame_cost.md]

One core. Frames and films are those of `benchmarks.videos`: 427x240 VP9, as Something-Something v2 has them. The sides
of a table take turns; times are processor time, the median of the turns, and of all turns the range of the ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from benchmarks import videos
from sharding.building import sample
from sharding.building.settings import Settings
from sharding.format import mjpeg
from sharding.lists.videos import Video
from sharding.sources import decode
from sharding.sources.resize import Resizer
from sharding.workers import memory as memory_of_workers

Sides = dict[str, Callable[[], object]]
_FAST, _BILINEAR, _EXACT = 0x1, 0x2, 0x2 | 0x40000 | 0x80000  # flags of swscale
FILMS = 4


def rows(sides: Sides, turns: int, calls: int, unit: float) -> list[str]:
    """A row a side, beside the first one; times in units of so many seconds."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            begin = time.process_time()
            for _ in range(calls):
                side()
            if turn:  # the first turn warms caches
                taken[name].append((time.process_time() - begin) / calls / unit)
    base = next(iter(taken.values()))
    lines = []
    for name, own in taken.items():
        ratios = [mine / other for mine, other in zip(own, base, strict=True)]
        lines.append(
            f"| {name} | {statistics.median(own):.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return lines


def resizing(frame: av.VideoFrame, bt709: av.VideoFrame) -> Sides:
    """Ways to the planes of a frame whose shorter side is 256."""
    size = (455, 256)
    luma = frame.reformat(format="gray")
    chroma = av.VideoFrame(luma.width // 2 + 1, luma.height // 2, "gray")
    whole, plain, first, second = (VideoReformatter() for _ in range(4))
    ours, other = Resizer(256), Resizer(256)

    def separately() -> None:
        first.reformat(luma, *size, format="gray", interpolation=_EXACT, threads=1)
        for _ in range(2):
            second.reformat(chroma, 228, 128, format="gray", interpolation=_EXACT, threads=1)

    def with_flags(flags: int) -> Callable[[], object]:
        return lambda: plain.reformat(
            frame,
            *size,
            format="yuvj420p",
            src_color_range=1,
            dst_color_range=2,
            interpolation=flags,
            threads=1,
        )

    return {
        "the build's: exact, bilinear, to full range": lambda: ours(frame),
        "the same of a BT.709 film": lambda: other(bt709),
        "without the change of range": lambda: whole.reformat(
            frame, *size, format="yuv420p", interpolation=_EXACT, threads=1
        ),
        "without the exact flags": with_flags(_BILINEAR),
        "fast bilinear": with_flags(_FAST),
        "Y, U and V scaled as three gray frames": separately,
    }


def own_size(frame: av.VideoFrame) -> Sides:
    """Ways to the planes of a frame that is not scaled."""
    ours, swscale = Resizer(None), VideoReformatter()
    ranges = {"src_colorspace": 5, "dst_colorspace": 5, "src_color_range": 1, "dst_color_range": 2}
    return {
        "swscale": lambda: swscale.reformat(
            frame, format="yuvj420p", interpolation=_EXACT, threads=1, **ranges
        ),
        "the build's: swscale's numbers from a table": lambda: ours(frame),
    }


def encoding(frame: av.VideoFrame) -> Sides:
    """A JPEG, and the least that any JPEG costs: what tables that are written once could spare is a part of it."""
    planes = Resizer(256)(frame)
    corner = tuple(np.ascontiguousarray(p[:side, :side]) for p, side in zip(planes, (16, 8, 8), strict=True))
    return {
        "a JPEG of 455x256, quality 90": lambda: mjpeg.encode_planes(planes, 90),
        "quality 75": lambda: mjpeg.encode_planes(planes, 75),
        "a JPEG of 16x16: headers, tables, set-up": lambda: mjpeg.encode_planes(
            (corner[0], corner[1], corner[2]), 90
        ),
    }


def thinning(folder: Path) -> Sides:
    """All frames of films, and some of them."""
    settings = {
        f"all {videos.FRAMES} frames": Settings(),
        "none of them: decoding alone": None,
        "--max-frames 16": Settings(max_frames=16),
        "--max-frames 8": Settings(max_frames=8),
        "--fps 4": Settings(fps=4),
    }

    def built(chosen: Settings | None) -> Callable[[], object]:
        def build() -> None:
            for number in range(FILMS):
                if chosen is None:
                    for _ in decode.read(folder / f"{number}.webm").frames:
                        pass
                else:
                    sample.encode(Video(str(number), f"{number}.webm", 0), folder, chosen)[1].close()

        return build

    return {name: built(chosen) for name, chosen in settings.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a frame costs.")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--out", help="Markdown file to write")
    args = parser.parse_args()
    memory_of_workers.keep_freed_blocks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos.make(folder, FILMS)
        frame, bt709 = (next(decode.read(folder / "1.webm").frames)[1] for _ in range(2))
        bt709.colorspace = 1
        tables = [
            (
                "Resizing 427x240 to 455x256",
                "microseconds",
                rows(resizing(frame, bt709), args.turns, 200, 1e-6),
            ),
            ("427x240 at its own size", "microseconds", rows(own_size(frame), args.turns, 200, 1e-6)),
            ("JPEG", "microseconds", rows(encoding(frame), args.turns, 200, 1e-6)),
            ("A film", "milliseconds", rows(thinning(folder), args.turns, 1, 1e-3 * FILMS)),
        ]
    lines = [
        "# What a frame costs",
        "",
        f"{date.today()}, one of {os.cpu_count()} cores, PyAV {av.__version__}; `python -m benchmarks.frame_cost`; "
        f"load average {os.getloadavg()[0]:.1f}. Processor time, medians of {args.turns} turns.",
    ]
    for title, unit, cells in tables:
        lines += [
            "",
            f"## {title}",
            "",
            f"| side | {unit} | times the first (range) |",
            "|---|---:|---:|",
            *cells,
        ]
    print("\n".join(lines))
    if args.out:
        Path(args.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

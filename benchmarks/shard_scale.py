"""What a million samples in 7,800 shards cost when nothing is left to build: build, finalize, inspect.

    python -m benchmarks.shard_scale --folder /tmp/scale [--before OLDER_CHECKOUT] [--samples 1000000]

Makes a list of videos, and for it manifests, sidecars and empty tars of the right sizes (some 2 GB of disk), then runs
the commands as a user does, each in a process of its own, this checkout and the older one by turns. CPU seconds and
peak memory are the kernel's, of the process and its children.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path

from sharding.building import build
from sharding.building.settings import Settings
from sharding.format.rows import SampleRow
from sharding.format.sidecar import Place, Sidecar, sidecar_bytes, tar_name

TASKS = 64
CLASSES = 700
_BYTES = 800_256  # a sample's, a multiple of 512
_FRAMES = 250


def make(folder: Path, samples: int) -> None:
    """The list, and the shards as a build of it would leave them, without their content."""
    (folder / "videos").mkdir(parents=True)
    chance = random.Random(0)
    with (folder / "list.csv").open("w") as file:
        file.write("path,label\n")
        for _ in range(samples):
            label = f"class {chance.randrange(CLASSES):03}"
            file.write(f"{label}/{chance.getrandbits(64):016x}.mp4,{label}\n")
    (plan,) = build.make_plans(request(folder))
    for index, videos in enumerate(plan.shards):
        place = Place(str(folder / "out" / "train"), tar_name(index))
        rows = [
            SampleRow(video.key, i * _BYTES, _BYTES, chance.getrandbits(32), video.label, _FRAMES)
            for i, video in enumerate(videos)
        ]
        Path(place.folder).mkdir(parents=True, exist_ok=True)
        size = len(rows) * _BYTES + 10_240
        with Path(place.tar_url).open("wb") as tar:
            tar.truncate(size)
        sidecar = Sidecar(place.tar_name, size, f"{chance.getrandbits(256):064x}", rows, [], plan.recipe)
        # As `save_sidecar` does, without waiting for the disk.
        Path(place.sidecar_url).write_bytes(sidecar_bytes(sidecar))


def request(folder: Path) -> build.Request:
    """The build that is measured."""
    return build.Request("csv", folder / "list.csv", folder / "videos", str(folder / "out"), Settings())


def measure(checkout: Path, words: list[str]) -> tuple[float, float, float]:
    """CPU seconds, seconds, and MB of memory at most, of a command of `blvnet-shard`."""
    pid = os.fork()
    if pid == 0:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
        os.chdir(checkout)
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        os.execve(sys.executable, [sys.executable, "-m", "sharding.cli", *words], environment)
    started = time.perf_counter()
    _, status, used = os.wait4(pid, 0)
    # inspect ends with 1: the tars are empty, so that the samples it shows are damaged
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{' '.join(words)}: status {status}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - started, used.ru_maxrss / 1000


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured, by name."""
    out = str(folder / "out")
    what = ["--dataset", "csv", "--annotations", str(folder / "list.csv"), "--videos", str(folder / "videos")]
    task = ["--workers", "1", "--task-index", "3", "--task-count", str(TASKS)]
    return {
        "build, one task of 64": ["build", *what, "--out", out, *task],
        "build, the only task": ["build", *what, "--out", out, "--workers", "1"],
        "finalize": ["finalize", out, "--split", "train"],
        "inspect": ["inspect", out, "--split", "train", "--out", str(folder / "page.html")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="made where it is not there, and used again"
    )
    parser.add_argument("--before", type=Path, help="an older checkout to compare with")
    parser.add_argument("--samples", type=int, default=1_000_000)
    args = parser.parse_args()
    if not args.folder.exists():
        make(args.folder, args.samples)
    sides = {"now": Path(__file__).parents[1]} | ({"before": args.before} if args.before else {})
    print("| command | side | CPU s | s | MB |\n|---|---|---|---|---|")
    for name, words in commands(args.folder).items():
        for side, checkout in sides.items():
            cpu, clock, memory = measure(checkout.resolve(), words)
            print(f"| {name} | {side} | {cpu:.1f} | {clock:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()

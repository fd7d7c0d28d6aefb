"""How long loader processes take to be there, and what memory is theirs alone.

    python -m benchmarks.start > benchmarks/results/start.md

Training with 12 processes begins, up to its first batch: with a cold server, from which the processes are made, and
again with a warm one. Then an evaluation begins while training's processes wait. "Before" is how it was until
November 2026: the server had imported the bare stream, and an evaluation started processes of its own.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing import forkserver
from pathlib import Path

from pipeline import config as configuration
from pipeline import train  # what a run's own file imports, each process imports once more
from pipeline.config import Config
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.handover import crew, server
from pipeline.order import plan
from sharding.format.manifest import Manifest
from tests import shards

WORKERS, VIDEOS = 12, 48
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Start:
    """Seconds to the first batch; CPU seconds of the server, and of all processes meanwhile; MB of each alone."""

    first_batch_s: float
    server_cpu_s: float
    cpu_s: float
    private_mb: float


def cpu_s(pid: int) -> float:
    """Of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def private_mb(pid: int) -> float:
    """Memory that a process shares with no other."""
    found = re.findall(
        r"^Private_\w+: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
    )
    return sum(map(int, found)) * 1024 / 1e6


def server_cpu_s() -> float:
    """Of the server, if there is one yet."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return cpu_s(pid) if pid else 0.0


def loaders() -> dict[int, float]:
    """The loader processes, each with its CPU seconds so far."""
    return {child.pid: cpu_s(child.pid) for child in multiprocessing.active_children() if child.pid}


def begin(split: Manifest, config: Config, evaluation: bool) -> tuple[Start, object]:
    """Take the first batch of a stream. What runs is given back, to be kept or dropped."""
    cutter = eval_cutter(config) if evaluation else train_cutter(config, split.classes)
    order = plan.Order(0, WORKERS, window=1)
    passes = Passes(WORKERS, drop_last=False) if evaluation else Passes(WORKERS, epochs=1 << 20)
    before, server_before, start = loaders(), server_cpu_s(), time.perf_counter()
    made = batches(ClipStream(split, cutter, order, passes, 0, 1), WORKERS)
    next(made)
    taken = time.perf_counter() - start
    spent = {pid: seconds - before.get(pid, 0.0) for pid, seconds in loaders().items()}
    used = [pid for pid, seconds in spent.items() if pid not in before] or list(spent)
    private = sum(private_mb(pid) for pid in used) / len(used)
    return Start(taken, server_cpu_s() - server_before, sum(spent[pid] for pid in used), private), made


def one(root: str, before: bool) -> list[Start]:
    """A cold start, a warm one, and an evaluation beside it."""
    from sharding.format import manifest

    if before:
        server._preloaded.append("pipeline.data.stream")
    split = manifest.load(f"{root}/train")
    config = configuration.load(
        "configs/blvnet-tam-50-f8x2-v2.yaml", [f"data.root={root}", "run.folder=unused"]
    )
    cold, made = begin(split, config, evaluation=False)
    made.close()  # type: ignore[attr-defined]
    while multiprocessing.active_children():
        time.sleep(0.1)
    warm, made = begin(split, config, evaluation=False)
    time.sleep(3)  # the next batches are made meanwhile
    if before:
        crew._crews.clear()  # these processes are training's alone
    evaluation, views = begin(split, config, evaluation=True)
    assert made is not views
    return [cold, warm, evaluation]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start")
    parser.add_argument("--one", nargs=2, metavar=("ROOT", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps([asdict(start) for start in one(args.one[0], args.one[1] == "before")]))
        return
    assert train
    print(
        f"# Start: loader processes until they are there\n\n{date.today()}, {os.cpu_count()} cores; `python -m "
        f"benchmarks.start`. Load average: {os.getloadavg()[0]:.1f}.\n\n{WORKERS} processes, a clip of each in "
        "the first batch; local shards. CPU time and memory are what counts: other programs share the cores.\n\n"
        "| start | way | first batch after, s | CPU of the server, s | of all processes, s | memory of each alone, MB "
        "|\n"
        "|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="start-benchmark.") as root:
        shards.make(root, [VIDEOS], width=340, height=256)
        for way in ("before", "now"):
            command = [sys.executable, "-m", "benchmarks.start", "--one", root, way]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            names = ("training, cold server", "training, warm server", "evaluation while training waits")
            for name, found in zip(names, json.loads(done.stdout), strict=True):
                start = Start(**found)
                print(
                    f"| {name} | {way} | {start.first_batch_s:.1f} | {start.server_cpu_s:.1f} | {start.cpu_s:.1f} "
                    f"| {start.private_mb:.0f} |"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()

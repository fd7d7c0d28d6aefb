"""A node on paper beside real loaders: predicted and measured waits behind stores of several bandwidths.

    python -m benchmarks.node_plan [FOLDER] [--seconds 20] [--workers 1 2] > benchmarks/results/node_plan.md

The rates come from `bench loader --save`'s own measurement, of this machine and this store without a limit. Then a
loader reads the same shards through a proxy that gives all answers together so many MB/s, for a device that takes a
fixed time a step. The store and the proxy have processes of their own on the same cores, which a node's would not
have; what they take of the processor is measured, and left out of the node's cores. So is what other programs take,
measured before each run. FOLDER is that of `benchmarks.loader`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from benchmarks.line import Line, line
from benchmarks.loader import prepare
from benchmarks.machine import cpu
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.batch import Batch
from pipeline.data.clips import train_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.measuring.machine import measure_rates
from pipeline.measuring.node import NETWORK, Node, Outlook, outlook
from pipeline.measuring.rates import Rates
from pipeline.order import plan, position
from sharding import storage
from tests.stores import BUCKET, fresh_clients, seaweedfs

BATCH, LANES, WINDOW = 8, 12, 48
STORES = (6.0, 12.0, 24.0, None)  # MB/s; None: no limit
STEPS = (10.0, 400.0)  # clips/s of the device: often slower than the loader, and always faster
SETTLE_S = 6.0
AIM = 0.15
_SPIN = "import time; s = time.perf_counter()\nwhile time.perf_counter() - s < 1: pass\nprint(time.process_time())"


@dataclass(frozen=True)
class Measured:
    """Clips/s, and the share of the time in which the device had nothing to do."""

    rate: float
    data_wait: float


@dataclass(frozen=True)
class Row:
    """A run: what was expected, and what came."""

    workers: int
    store: float | None
    step_rate: float
    cores: float
    expected: Outlook
    found: Measured

    @property
    def error(self) -> float:
        """Of the rate, as a share of the measured one."""
        return self.expected.rate / self.found.rate - 1


def drive(made: Iterator[Batch], step_s: float, seconds: float) -> Measured:
    """Take batches for a device that needs `step_s` for each; the host is a step ahead of it, as it is of a GPU."""
    free = time.perf_counter()  # when the device is
    settled = free + SETTLE_S
    first: float | None = None
    idle = steps = 0.0
    for _ in made:
        start = max(time.perf_counter(), free)
        if first is not None:
            idle += start - free
            steps += 1
            if start - first >= seconds:
                return Measured(BATCH * steps / (start - first), idle / (start - first))
        elif start >= settled:
            first = start
        free = start + step_s
        time.sleep(max(start - time.perf_counter(), 0))
    raise AssertionError("an endless stream ended")


def run(config: Config, step_rate: float, seconds: float) -> Measured:
    """A loader as one rank has it."""
    split = splits.load(config.data.root, config.data.train, "data.train")
    at = position.first(config, split, ranks=1)
    passes = Passes(at.global_batch, 1 << 30)
    stream = ClipStream(split, train_cutter(config, split.classes), at.order, passes, 0, 1)
    made = batches(stream, config.data.workers)
    try:
        return drive(made, BATCH / step_rate, seconds)
    finally:
        made.close()


def left_cores(processes: int) -> float:
    """Cores that other programs leave so many processes of this priority."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", _SPIN], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in spinning)


def processor_s(pids: list[int]) -> float:
    """Seconds of the processor that these processes have had."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def report(rows: list[Row], rates: Rates, store_s: float, load: float, seconds: float) -> str:
    """The results file."""
    errors = [abs(row.error) for row in rows]
    points = [100 * abs(row.expected.data_wait - row.found.data_wait) for row in rows]
    network = [abs(row.error) for row in rows if row.expected.limit == NETWORK]
    table = [
        f"| {row.workers} | {'no limit' if row.store is None else f'{row.store:.0f}'} | {row.step_rate:.0f} "
        f"| {row.cores:.2f} | {row.expected.limit} | {row.expected.rate:.1f} | {row.found.rate:.1f} | {row.error:+.0%} "
        f"| {max(row.expected.data_wait, 0):.0%} | {row.found.data_wait:.0%} |"
        for row in rows
    ]
    within = sum(error <= AIM for error in errors)
    return f"""# A node on paper, beside real loaders

{date.today()}, {os.cpu_count()} cores ({cpu()}); `python -m benchmarks.node_plan --seconds {seconds:g}`.
Load average before it: {load:.1f}.

One rank, {BATCH} clips a step (f8x2, 224x224), {LANES} lanes of window {plan.lane_window(WINDOW, LANES)}; a SeaweedFS
server and a throttling proxy on the same machine. Measured first, as `bench loader --save` does: \
{rates.read_bytes / 1e6:.2f} MB to read a
clip, {1000 * rates.worker_s:.1f} ms of a core for it, {1000 * rates.handover_s:.2f} ms of hand-over, \
{rates.store_mb_s:.0f} MB/s from the store without a limit; the store and the
proxy take {1000 * store_s:.1f} ms of a core a clip. "Cores": what other programs and the store left, measured before
each run. Each run is measured for {seconds:g} s.

| workers | store, MB/s | device, clips/s | cores | limit, on paper | clips/s, on paper | measured | error \
| data wait, on paper | measured |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(table)}

Rates: within {AIM:.0%} in {within} of {len(rows)} runs, error {statistics.median(errors):.0%} in the median and \
{max(errors):.0%} at most; where the
network is the limit {max(network, default=0):.0%} at most. Data wait: {statistics.median(points):.0f} points of \
a hundred in the median, {max(points):.0f} at most.
Aim: {AIM:.0%}."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.node_plan")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the inputs (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that each run is measured (default: 20)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="loader processes (default: 1 2)"
    )
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="node-benchmark.") as temporary, seaweedfs() as server:
        local = prepare(args.folder or Path(temporary))
        os.environ.update(server.environment())
        upstream = int(server.endpoint.rpartition(":")[2])
        with line(upstream) as network, fresh_clients():
            os.environ["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{network.port}"
            root = f"s3://{BUCKET}/set"
            for name in storage.list_names(local.root):
                storage.write_bytes(f"{root}/train/{name}", storage.read_bytes(f"{local.root}/{name}"))
            print(report(*_measured(root, network, server.program.pid, args), load, args.seconds))


def _measured(
    root: str, network: Line, server: int, args: argparse.Namespace
) -> tuple[list[Row], Rates, float]:
    words = [f"data.root={root}", "run.folder=unused", f"optim.global_batch={BATCH}"]
    words += [f"data.lanes={LANES}", f"data.window={WINDOW}", f"data.workers={max(args.workers)}"]
    config = configuration.load("blvnet-tam-50-f8x2-v2", words)
    rates = measure_rates(config, args.seconds)
    store = [network.pid, server]
    before = processor_s(store)
    calm = run(config, STEPS[-1], args.seconds)
    # of the whole run, its start and its settling too: the clips of these came no faster
    store_s = (processor_s(store) - before) / (calm.rate * (args.seconds + SETTLE_S))
    at = Node(1, 1, 1, rates.store_mb_s, 1.0, BATCH, plan.Order(0, LANES, WINDOW // LANES), gpu_cores=0)
    rows = []
    for workers in args.workers:
        for limit in STORES:
            network.limit(limit)
            for step_rate in STEPS:
                cores = left_cores(os.cpu_count() or 1)
                here = replace(
                    at,
                    workers=workers,
                    cores=cores * rates.worker_s / (rates.worker_s + store_s),
                    store_mb_s=min(limit or rates.store_mb_s, rates.store_mb_s),
                    step_rate=step_rate,
                )
                changed = config.model_copy(
                    update={"data": config.data.model_copy(update={"workers": workers})}
                )
                found = run(changed, step_rate, args.seconds)
                rows.append(Row(workers, limit, step_rate, here.cores, outlook(rates, here), found))
                print(rows[-1], file=sys.stderr, flush=True)
    return rows, rates, store_s


if __name__ == "__main__":
    main()

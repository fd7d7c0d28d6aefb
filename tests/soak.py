"""The soak: two ranks stream through a proxy that breaks one request in seven, and nothing may be lost or grow.

python -m tests.soak > benchmarks/results/soak.md
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import cpu
from pipeline.order import plan
from sharding.format.manifest import Manifest
from tests import shards
from tests.faults import Decide, Fault, Request, fault_proxy
from tests.processes import ROOT, alive, descendants, environment, kill_tree
from tests.soak_rank import Run
from tests.stores import BUCKET, S3Server, fresh_clients, seaweedfs

RESETS, ERRORS, HANGS = 0.05, 0.05, 0.05  # shares of requests
HANG_S = 2.0
GROWTH = 1.10
SPARE_DESCRIPTORS = 4  # connections that are open at one reading and not at another


@dataclass
class Outcome:
    """What a soak came to; `problems` is empty where all promises were kept."""

    samples: int
    seconds: float
    faults: Counter[str]
    requests: int
    resident: tuple[float, float]
    "MiB of the median loader process after the first tenth, and at the end."
    descriptors: tuple[int, int]
    "Of the loader process with the most, likewise."
    problems: list[str] = field(default_factory=list)


def faults(counts: Counter[str], seed: int) -> Decide:
    """Resets, 503s and hangs at random, counted."""
    rng = random.Random(seed)

    def decide(request: Request) -> Fault | None:
        draw = rng.random()
        if draw < RESETS:
            counts["reset"] += 1
            return Fault(reset_download=int(10 ** rng.uniform(0, 3.5)))
        if draw < RESETS + ERRORS:
            counts["503"] += 1
            return Fault(status=503)
        if draw < RESETS + ERRORS + HANGS:
            counts["hang"] += 1
            return Fault(hang=HANG_S)
        return None

    return decide


def soak(
    server: S3Server, root: str, shard_sizes: list[int], run: Run, folder: Path, limit_s: float
) -> Outcome:
    """Stream `run.epochs` epochs of shards of these sizes, kept under `root` of `server`, through the faults."""
    split = shards.make(root, shard_sizes, frames=4)
    counts: Counter[str] = Counter()
    start = time.monotonic()
    with fault_proxy(int(server.endpoint.rpartition(":")[2]), faults(counts, seed=1)) as proxy:
        env = environment({**server.environment(), "AWS_ENDPOINT_URL_S3": proxy.endpoint})
        left = _ranks(run, folder, env, limit_s)
        requests = len(proxy.requests)
    seconds = time.monotonic() - start
    found = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(run.ranks)]
    steps = plan.steps_in_epoch(split.samples, run.batch) * run.epochs
    readings = [np.array(rank["readings"]) for rank in found]  # (readings, workers, 2)
    tenth = [rank[len(rank) // 10] for rank in readings]
    # At the very end a worker may have ended already.
    last = [rank[-2] for rank in readings]
    outcome = Outcome(
        samples=steps * run.batch,
        seconds=seconds,
        faults=counts,
        requests=requests,
        resident=(_resident(tenth), _resident(last)),
        descriptors=(_descriptors(tenth), _descriptors(last)),
    )
    outcome.problems += _order_problems(split, run, found)
    for rank, of_rank in enumerate(found):
        outcome.problems += [f"rank {rank}: {key} shows another sample" for key in of_rank["wrong"]]
        if of_rank["left"]:
            outcome.problems.append(f"rank {rank}: loader processes are left: {of_rank['left']}")
    if left:
        outcome.problems.append(f"processes are left: {left}")
    if outcome.resident[1] > GROWTH * outcome.resident[0]:
        outcome.problems.append(f"memory grew: {outcome.resident} MiB")
    if outcome.descriptors[1] > outcome.descriptors[0] + SPARE_DESCRIPTORS:
        outcome.problems.append(f"descriptors grew: {outcome.descriptors}")
    return outcome


def _ranks(run: Run, folder: Path, env: dict[str, str], limit_s: float) -> list[int]:
    """Run the ranks to their end; returns the processes that outlive them."""
    text = json.dumps(asdict(run))
    command = [sys.executable, "-m", "tests.soak_rank", str(folder)]
    ranks = [subprocess.Popen([*command, str(rank), text], cwd=ROOT, env=env) for rank in range(run.ranks)]
    try:
        seen: set[int] = set()
        deadline = time.monotonic() + limit_s
        while any(rank.poll() is None for rank in ranks):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the soak did not end in {limit_s:.0f} s")
            seen.update(pid for rank in ranks for pid in descendants(rank.pid))
            time.sleep(0.2)
        if any(rank.returncode for rank in ranks):
            raise RuntimeError(f"the ranks ended with {[rank.returncode for rank in ranks]}")
        deadline = time.monotonic() + 10  # the fork server ends a moment after its parent
        while (left := [pid for pid in seen if alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left
    finally:
        for rank in ranks:
            kill_tree(rank)


def planned(split: Manifest, order: plan.Order, epoch: int) -> list[str]:
    """The keys of an epoch in the order that contract 2 states, from whole permutations."""
    sizes = np.array([shard.samples for shard in split.shards])
    starts = np.cumsum(sizes) - sizes
    shuffled = plan.shard_permutation(len(sizes), order.seed, epoch)
    raw = np.concatenate([starts[shard] + np.arange(sizes[shard]) for shard in shuffled])
    keys = [""] * split.samples
    start = 0
    for lane in range(order.lanes):
        length = plan.lane_length(split.samples, order.lanes, lane)
        for position, i in enumerate(plan.lane_order(length, order, epoch, lane)):
            keys[position * order.lanes + lane] = f"clip-{raw[start + i]}"
        start += length
    return keys


def _order_problems(split: Manifest, run: Run, found: list[dict[str, list[list[object]]]]) -> list[str]:
    """Where the ranks' keys are not those of the plan, step by step."""
    expected = {epoch: planned(split, run.order, epoch) for epoch in range(run.epochs)}
    steps = plan.steps_in_epoch(split.samples, run.batch)
    problems = []
    for rank, of_rank in enumerate(found):
        wanted = [
            [epoch, step, numbers, [expected[epoch][n] for n in numbers]]
            for epoch in range(run.epochs)
            for step in range(steps)
            for numbers in [list(plan.numbers(step * run.batch, (step + 1) * run.batch, rank, run.ranks))]
        ]
        if of_rank["steps"] != wanted:
            pairs = zip(of_rank["steps"], wanted, strict=False)
            where = next((want[:2] for got, want in pairs if got != want), "the end")
            problems.append(f"rank {rank}: other samples than planned from epoch, step {where} on")
    return problems


def _resident(readings: list[np.ndarray]) -> float:
    return median(float(kib) / 1024 for rank in readings for kib in rank[:, 0])


def _descriptors(readings: list[np.ndarray]) -> int:
    return max(int(count) for rank in readings for count in rank[:, 1])


def report(outcome: Outcome, run: Run) -> str:
    """The results file."""
    memory = "{:.1f} and {:.1f} MiB".format(*outcome.resident)
    descriptors = "{} and {}".format(*outcome.descriptors)
    return f"""# Soak: streaming through faults

{date.today()}, {os.cpu_count()} cores ({cpu()}), `python -m tests.soak`, SeaweedFS behind the fault proxy of the tests.

{run.ranks} ranks with {run.workers} loader processes each, {run.epochs} epochs, {outcome.samples} samples in
{outcome.seconds:.0f} s; {outcome.requests} requests, of which {outcome.faults["reset"]} connections were reset in the
answer's body, {outcome.faults["503"]} got a 503 and {outcome.faults["hang"]} hung for {HANG_S:.0f} s and were reset.

| promise | found |
|---|---|
| exact order, no sample lost or doubled, each key with its own picture | {"no" if outcome.problems else "yes"} |
| memory of the median loader process, after the first tenth and at the end | {memory} |
| open descriptors of the loader process with the most, likewise | {descriptors} |
| problems | {"; ".join(outcome.problems) or "none"} |"""


def main() -> int:
    """The full soak, on a store of its own."""
    run = Run(f"s3://{BUCKET}/soak", ranks=2, workers=4, batch=40, epochs=11)
    with tempfile.TemporaryDirectory(prefix="soak.") as folder, seaweedfs() as server:
        os.environ.update(server.environment())
        with fresh_clients():
            outcome = soak(server, run.root, [50] * 40, run, Path(folder), limit_s=3600)
    print(report(outcome, run))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())

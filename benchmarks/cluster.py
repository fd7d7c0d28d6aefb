"""How long a job waits under SLURM: from `sbatch`, from a stop, from the loss of a node, to the next step.

    python -m benchmarks.cluster [--rounds 3] > benchmarks/results/cluster.md

A real SLURM of two nodes on this machine, with a training of one process a node, as `launch/train.sbatch` starts it.
Seconds are taken from the job's log, and from what SLURM says of the node and of the job, every 100 ms.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from benchmarks.machine import cpu
from tests import shards
from tests.cluster.slurm import CONFIGURATION, Cluster, idle_nodes, two_nodes, usable
from tests.processes import ROOT

SETTINGS = ["data.size=32", "data.short_side=32", "data.workers=1", "data.window=8", "model.num_frames=4"]
SETTINGS += [
    "run.precision=fp32",
    "run.log_steps=1",
    "run.checkpoint_minutes=1",
    "run.evaluate_epochs=100000",
]
SETTINGS += ["optim.global_batch=4", "optim.epochs=100000"]
STEPS, PATIENCE_S, _LOOK_S = 8, 300.0, 0.1
SUBMITTED, STOPPED, LOST = "`sbatch`", "`scancel --signal=TERM`", "a node is lost (SIGKILL to all of it)"


@dataclass(frozen=True)
class Wait:
    """Seconds from an event until it is seen, the job begins, its first rank has what it needs, a step is trained."""

    seen: float
    begun: float
    introduced: float
    step: float


class Job:
    """A training in the queue of `cluster`, with its files in `folder`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self._number, self._log, self._from = "", Path(), 0

    def submit(self) -> None:
        words = [str(ROOT / "launch/train.sbatch"), str(ROOT / "configs/demo.yaml"), *SETTINGS]
        words += [f"data.root={self._folder}/shards", f"run.folder={self._folder}/run"]
        options = ["--parsable", "--nodes=2", "--exclusive"]
        self._number = self._cluster.run("sbatch", *options, *words, cwd=self._folder).strip()
        self._log = self._folder / f"blvnet-train-{self._number}.log"

    def stop(self) -> None:
        self._cluster.run("scancel", "--signal=TERM", self._number)

    def stopped(self) -> bool:
        """Whether its script says so."""
        return "returning job" in self._said()

    def submitted(self) -> bool:
        """Whether sbatch has come back."""
        return bool(self._number)

    def wait(
        self, event: Callable[[], None], seen: Callable[[], bool], then: Callable[[], None] = lambda: None
    ) -> Wait:
        """What follows `event`, after some steps; `then` is done as soon as it is `seen`."""
        if self._number:
            self._from = self._log.stat().st_size
            self._until(lambda: self._said().count(": step ") >= STEPS)
            self._from = self._log.stat().st_size
        at = time.monotonic()
        event()
        times = [self._until(seen) - at]
        then()
        times += [self._until(partial(self._runs, word)) - at for word in (": n", ":   ranks ", ": step ")]
        return Wait(*times)

    def _runs(self, word: str) -> bool:
        """Whether the run that has begun says so."""
        return word in self._said().partition(", run ")[2]

    def _said(self) -> str:
        if not self._log.is_file():
            return ""
        with self._log.open() as file:
            file.seek(self._from)
            return file.read()

    def _until(self, condition: Callable[[], bool]) -> float:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._cluster.state()}\n{self._said()}")
            time.sleep(_LOOK_S)
        return time.monotonic()


def rounds(count: int) -> Iterator[tuple[str, Wait]]:
    """What happens, and what follows, in turns."""
    with two_nodes() as cluster, tempfile.TemporaryDirectory(prefix="cluster-benchmark.") as folder:
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["PYTHONPATH"] = str(ROOT)
        shards.make(f"{folder}/shards", [20, 12])
        shards.make(f"{folder}/shards", [4], split="validation")
        for _ in range(count):
            shutil.rmtree(f"{folder}/run", ignore_errors=True)
            job = Job(cluster, Path(folder))
            yield SUBMITTED, job.wait(job.submit, job.submitted)
            yield STOPPED, job.wait(job.stop, job.stopped)
            yield (
                LOST,
                job.wait(
                    lambda: cluster.lose("n2"),
                    lambda: "down" in cluster.run("sinfo", "--noheader", "--nodes=n2", "--format=%T"),
                    lambda: cluster.start("n2"),
                ),
            )
            cluster.run("scancel", "--user=root", "--full")
            cluster.wait_for(lambda: idle_nodes(cluster) == {"n1", "n2"}, 60, "two idle nodes")


def row(event: str, waits: list[Wait]) -> str:
    """A line of the table: medians, and the whole from the lowest to the highest."""
    whole = sorted(one.step for one in waits)
    seen, begun, introduced = (
        statistics.median(times)
        for times in zip(*((w.seen, w.begun - w.seen, w.introduced - w.begun) for w in waits), strict=True)
    )
    first = statistics.median(one.step - one.introduced for one in waits)
    return (
        f"| {event} | {statistics.median(whole):.1f}, {whole[0]:.1f} to {whole[-1]:.1f} | {seen:.1f} | {begun:.1f} "
        f"| {introduced:.1f} | {first:.1f} |"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    assert usable(), "root, SLURM and munge are needed"
    load, found = os.getloadavg()[0], dict[str, list[Wait]]()
    for event, one in rounds(args.rounds):
        found.setdefault(event, []).append(one)
        print(f"{event}: {one}", file=sys.stderr, flush=True)
    after = os.getloadavg()[0]
    missed = next(line for line in CONFIGURATION.splitlines() if line.startswith("SlurmdTimeout"))
    version = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(
        f"""# SLURM: from an event to the next step

{date.today()}, {os.cpu_count()}-core {cpu()} virtual machine, no GPU, {version}, Python {platform.python_version()};
`python -m benchmarks.cluster --rounds {args.rounds}`. Load average before, after: {load:.1f}, {after:.1f}.

Two nodes of this machine, a rank and a loader process on each. Seconds until the next step, and of what they consist;
medians of {args.rounds}.

| what happens | next step after, lowest to highest | it is seen | the job begins | first rank has all | first step |
|---|---|---|---|---|---|"""
    )
    for event, waits in found.items():
        print(row(event, waits))
    print(
        f"""
It is seen: `sbatch` comes back; the job's script returns it to the queue after a checkpoint; SLURM calls the node down.
The lost node's daemon is started again then, as the job wants two nodes. The cluster has `{missed}` and
`cred_expire=5`. SLURM's own values are 300 seconds until a silent node is given up, and 120 until a job that was
returned may begin again."""
    )


if __name__ == "__main__":
    main()

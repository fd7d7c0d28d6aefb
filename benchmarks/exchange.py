"""What a narrow network between two hosts costs a training step.

    python -m benchmarks.exchange > benchmarks/results/exchange.md

The hosts are network namespaces of this machine, whose cables let through so many bits a second. Each has one rank.
Exchange and step are measured apart: in a run an exchange goes on during the backward pass, and part of it hides there.
A step of a CPU is long; no step of a GPU can be shorter than the exchange.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from benchmarks.machine import cpu
from tests.cluster.hosts import ADDRESSES, HOSTS, network_of, usable
from tests.processes import environment

PORT, EXCHANGES, STEPS, CLASSES = 29500, 5, 3, 174
LINKS: list[int | None] = [None, 1000, 200]
"""Mbit/s."""


@dataclass(frozen=True)
class Taken:
    """Seconds of a rank: an exchange in fp32 and in bf16, a step without one; MB of gradients."""

    exchange_s: float
    half_s: float
    alone_s: float
    gradients_mb: float


def measure(rank: int) -> Taken:
    """As rank 0 or 1 of two."""
    import torch
    import torch.distributed as dist

    from pipeline import config as configuration
    from pipeline.ranks.distributed import World
    from pipeline.training.learner import Learner
    from pipeline.training.network import build_model

    torch.set_num_threads(1)
    device = torch.device("cpu")
    words = ["data.root=unused", "run.folder=unused", "run.precision=fp32", "optim.global_batch=2"]
    config = configuration.load("blvnet-tam-50-f8x2-v2", words)
    dist.init_process_group(
        "gloo", init_method=f"tcp://{ADDRESSES[HOSTS[0]]}:{PORT}", rank=rank, world_size=2
    )
    model = build_model(config, CLASSES)
    count = sum(weight.numel() for weight in model.parameters())
    size = config.data.size
    clips = torch.randint(0, 256, (1, config.model.num_frames, size, size, 3), dtype=torch.uint8).movedim(
        -1, -3
    )
    labels = torch.zeros(1, dtype=torch.int64)

    def often(times: int, work: Callable[[int], object]) -> float:
        taken = []
        for number in range(times + 1):
            dist.barrier()
            begun = time.perf_counter()
            work(number)
            if number:  # the first one warms up
                taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    gradients = torch.zeros(count)
    half = gradients.bfloat16()
    exchange_s = often(EXCHANGES, lambda number: dist.all_reduce(gradients))
    half_s = often(EXCHANGES, lambda number: dist.all_reduce(half))
    alone = Learner(model, config, World(0, 1, device))
    alone_s = often(STEPS, lambda number: alone.step(clips, labels, number, 0.01))
    dist.destroy_process_group()
    return Taken(exchange_s, half_s, alone_s, gradients.nbytes / 1e6)


def over(mbit: int | None) -> Taken:
    """What the first rank finds where the link lets through so much."""
    with (
        tempfile.TemporaryDirectory(prefix="exchange-benchmark.") as folder,
        network_of(HOSTS[:2], Path(folder)) as network,
    ):
        ranks = []
        for rank, host in enumerate(HOSTS[:2]):
            if mbit is not None:
                network.limit(host, mbit)
            command = [sys.executable, "-m", "benchmarks.exchange", "--rank", str(rank)]
            ranks.append(
                subprocess.Popen(
                    network.command(host, command),
                    env=environment({"GLOO_SOCKET_IFNAME": "eth0"}),
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        said = [rank.communicate()[0] for rank in ranks]
        assert not any(rank.returncode for rank in ranks), said
    return Taken(**json.loads(said[0].splitlines()[-1]))


def row(mbit: int | None, taken: Taken, step_s: float) -> str:
    """A line of the table, beside a step of `step_s`."""
    link = "as fast as this machine" if mbit is None else f"{mbit} Mbit/s"
    shares = [some / (some + step_s) for some in (taken.exchange_s, taken.half_s)]
    shown = [f"{taken.exchange_s:.2f}", f"{shares[0]:.0%}", f"{taken.half_s:.2f}", f"{shares[1]:.0%}"]
    return f"| {link} | {' | '.join(shown)} | {8 / taken.exchange_s:.1f} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exchange")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank is not None:
        print(json.dumps(asdict(measure(args.rank))))
        return
    assert usable(), "root, iproute2 and util-linux are needed"
    load = os.getloadavg()[0]
    found = {mbit: over(mbit) for mbit in LINKS}
    step_s = min(taken.alone_s for taken in found.values())
    print(
        f"""# Exchange: a training step over a narrow network

{date.today()}, {os.cpu_count()}-core {cpu()} virtual machine without a GPU, Python {platform.python_version()};
`python -m benchmarks.exchange`. Load average before and after: {load:.1f}, {os.getloadavg()[0]:.1f}.

Two hosts (network namespaces) with a rank each, gloo, `blvnet-tam-50-f8x2-v2`: {found[None].gradients_mb:.0f} MB of
gradients in fp32. Medians of {EXCHANGES} exchanges; seconds. The share is of a step that takes {step_s:.2f} s by itself
(one clip a rank, fp32, one core, the least disturbed of three medians), if nothing of the exchange hid in it.

| link, each way | exchange | share of a step at most | in bf16 | share | most clips/s of a rank, 8 a step |
|---|---|---|---|---|---|"""
    )
    for mbit, taken in found.items():
        print(row(mbit, taken, step_s))
    print(
        "\nThe program has no setting that compresses gradients; the column bf16 is what half the bytes would take. "
        "`optim.accumulate` makes a step of several parts with one exchange."
    )


if __name__ == "__main__":
    main()

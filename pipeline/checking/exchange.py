"""An all-reduce between nodes, one process on each: is the sum right, and how fast is it made?"""

import os
import time
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

FLOATS = 8 << 20
"""As many as a small network has gradients: 32 MB."""
_TIMES = 3


@dataclass(frozen=True)
class Place:
    """This process among the group's, and where the first of them listens."""

    rank: int
    ranks: int
    host: str
    port: int


def run(place: Place, timeout_s: float, floats: int = FLOATS) -> float:
    """MB of gradients a second that the group sums up; RuntimeError where it does not meet, or the sum is wrong."""
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    os.environ.update(MASTER_ADDR=place.host, MASTER_PORT=str(place.port))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=place.rank,
        world_size=place.ranks,
        timeout=timedelta(seconds=timeout_s),
    )
    mine = torch.arange(floats, dtype=torch.float32, device=device) % 251 + place.rank
    expected = torch.arange(floats, dtype=torch.float32, device=device) % 251 * place.ranks
    expected += place.ranks * (place.ranks - 1) / 2
    seconds = []
    for _ in range(_TIMES):
        values = mine.clone()
        begun = time.perf_counter()
        dist.all_reduce(values)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        if not torch.equal(values, expected):
            raise RuntimeError("the sum over all nodes is wrong")
    dist.destroy_process_group()
    return 4 * floats / min(seconds) / 1e6

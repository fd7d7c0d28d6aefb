"""Which rank of how many this process is."""

import os

import torch.distributed as dist


def here() -> tuple[int, int]:
    """(rank, ranks) of the process group, or as torchrun says in the environment, or (0, 1)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

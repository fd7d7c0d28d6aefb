"""The device of a process, and how it computes."""

import os
from pathlib import Path

import torch

from pipeline.config import Run
from sharding.errors import UserError


def device_for(run: Run) -> torch.device:
    """The device that `run` asks for on this rank, told to compute as `run` says. `UserError` where there is none."""
    device = local_device(run.device)
    settle(run)
    return device


def settle(run: Run) -> None:
    """Say how GPUs are to compute, before the first kernel.

    float32 is float32: TF32, with 10 bits of mantissa, is a precision of its own.
    """
    if run.deterministic:
        # cuBLAS refuses to be deterministic without it, and reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = run.precision == "tf32"


def local_device(kind: str) -> torch.device:
    """The device of this process: the GPU of its number on this host, or the CPU where there is none.

    Raises `UserError` where the host has GPUs that torch cannot use, unless `kind` is "cpu".
    """
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if gpus := _gpus_of_host():
            raise UserError(
                f"{gpus}, and torch {torch.__version__} (for CUDA {torch.version.cuda}) cannot use them: install a "
                "torch that fits the driver, or train on the CPU with run.device=cpu"
            )
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"process {local_rank} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
            "start fewer, or train on the CPU with run.device=cpu"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def _gpus_of_host() -> str | None:
    """What says that there are GPUs; None where nothing does, or CUDA_VISIBLE_DEVICES hides them on purpose."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible in ("", "-1", "NoDevFiles"):
        return None
    if files := sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*")):
        return f"this host has {len(files)} NVIDIA GPUs (/dev/{files[0]})"
    for name in ("SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"):
        if os.environ.get(name, "0") not in ("", "0"):
            return f"this job has GPUs ({name}={os.environ[name]})"
    return None

"""Start training on this machine: the torchrun command line."""

import sys
from pathlib import Path


def torchrun(config: str, overrides: list[str], processes: str) -> list[str]:
    """The command that trains with `processes` processes ("gpu": one for each GPU) on this machine alone."""
    return [
        *(sys.executable, "-m", "pipeline.agent", "--standalone", f"--nproc-per-node={processes}"),
        *("-m", "pipeline.train", "--config", config, *overrides),
    ]


def default_processes(devices: Path = Path("/dev")) -> str:
    """One process for each GPU that torch will see, or a single one; asks the device files, not torch."""
    return "gpu" if any(devices.glob("nvidia[0-9]*")) else "1"

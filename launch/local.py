"""`blvnet-launch local`: training on this machine, by the torchrun command line."""

import argparse
import os
import sys
from pathlib import Path

from launch import options
from sharding.arguments import Arguments


def add(commands: "argparse._SubParsersAction[Arguments]") -> None:
    """The command's options."""
    here = commands.add_parser("local", help="train on this machine", description="Train on this machine.")
    options.add_count(here, "--nproc", "training processes (default: one for each GPU, or 1)")
    options.add_config(here)
    here.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Become the launcher: signals and the exit status then need no passing on."""
    from pipeline import config as configuration

    configuration.load(args.config, args.overrides)
    command = torchrun(args.config, args.overrides, str(args.nproc or default_processes()))
    os.execv(command[0], command)


def torchrun(config: str, overrides: list[str], processes: str) -> list[str]:
    """The command that trains with `processes` processes ("gpu": one for each GPU) on this machine alone."""
    return [
        *(sys.executable, "-m", "pipeline.agent", "--standalone", f"--nproc-per-node={processes}"),
        *("-m", "pipeline.train", "--config", config, *overrides),
    ]


def default_processes(devices: Path = Path("/dev")) -> str:
    """One process for each GPU that torch will see, or a single one; asks the device files, not torch."""
    return "gpu" if any(devices.glob("nvidia[0-9]*")) else "1"

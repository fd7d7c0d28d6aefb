"""Gives commands to SLURM and takes the numbers of its jobs."""

import shutil
import subprocess
from pathlib import Path

from sharding.errors import UserError


class RefusedError(Exception):
    """sbatch has said why, and ended with `status`; before that it had taken the jobs of these `numbers`."""

    def __init__(self, status: int, numbers: list[str]) -> None:
        super().__init__(status)
        self.status, self.numbers = status, numbers


def check_sbatch() -> None:
    """`UserError` on a machine that cannot submit."""
    if not shutil.which("sbatch"):
        raise UserError(
            "sbatch is not on this machine's PATH: submit from a login node, or look at the commands with --print"
        )


def submit(commands: str, logs: str | None) -> list[str]:
    """Print the shell text `commands`, run it, and return the jobs' numbers, which it writes.

    `UserError` where the folder `logs`, of which SLURM would say nothing, cannot be made.
    """
    try:
        Path(logs or ".").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--log {logs}: {error.strerror}; name a folder that can be written") from None
    print(commands, flush=True)
    done = subprocess.run(["bash", "-euc", commands], stdout=subprocess.PIPE, text=True)
    # "17;cluster" where there are several clusters
    numbers = [word.partition(";")[0] for word in done.stdout.split()]
    if done.returncode:
        raise RefusedError(done.returncode, numbers)
    return numbers


def say(title: str, rows: list[tuple[str, str]]) -> None:
    """What a user does with a job."""
    print(title)
    for name, text in rows:
        print(f"  {name:<6} {text}")

"""Gives commands to SLURM and takes the numbers of its jobs."""

import shutil
import subprocess

from sharding.errors import UserError


class RefusedError(Exception):
    """sbatch has said why, and ended with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check_sbatch() -> None:
    """`UserError` on a machine that cannot submit."""
    if not shutil.which("sbatch"):
        raise UserError(
            "sbatch is not on this machine's PATH: submit from a login node, or look at the commands with --print"
        )


def submit(commands: str) -> list[str]:
    """Print the shell text `commands`, run it, and return the jobs' numbers, which it writes."""
    print(commands, flush=True)
    done = subprocess.run(["bash", "-euc", commands], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout, end="")
        raise RefusedError(done.returncode)
    # "17;cluster" where there are several clusters
    return [word.partition(";")[0] for word in done.stdout.split()]


def say(title: str, rows: list[tuple[str, str]]) -> None:
    """What a user does with a job."""
    print(title)
    for name, text in rows:
        print(f"  {name:<6} {text}")

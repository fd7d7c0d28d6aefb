"""Runs a command on hosts by ssh, where there is no scheduler, for a limited time: see `launch.steps`."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launch.steps import Started, Step, all_ended
from sharding.errors import UserError

_SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]


def run(commands: Sequence[tuple[Sequence[str], Sequence[str]]], limit_s: float) -> list[Step]:
    """`launch.steps.Run`. The hosts of a command are told their ranks, as torchrun tells them.

    They have this program, and this folder, in the same place.
    """
    if not shutil.which("ssh"):
        raise UserError(
            "ssh is not on this machine's PATH, by which --hosts are looked at; install its client"
        )
    deadline = time.monotonic() + limit_s
    with all_ended() as started:
        for hosts, words in commands:
            for rank, host in enumerate(hosts):
                remote = _remote(host, rank, len(hosts), words, limit_s)
                started.append(Started([*_SSH, host, remote], os.environ))
        ended = iter([one.end(deadline) for one in started])
    return [_together([next(ended) for _ in hosts]) for hosts, _ in commands]


def _remote(host: str, rank: int, ranks: int, words: Sequence[str], limit_s: float) -> str:
    """What the host's shell is to do. It ends by itself: the end of ssh would not end it."""
    from pipeline.checking.report import NODE

    told = [f"{NODE}={host}", f"RANK={rank}", f"WORLD_SIZE={ranks}"]
    command = ["env", *told, "timeout", "--kill-after=5", f"{limit_s:g}", sys.executable, *words[1:]]
    return f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(command)}"


def _together(steps: Sequence[Step]) -> Step:
    return Step(max(abs(step.status) for step in steps), [line for step in steps for line in step.lines])

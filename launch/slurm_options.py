"""What SLURM is asked for: the options that `blvnet-launch slurm` has a name for, and all others for sbatch."""

import argparse
import itertools
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sharding.arguments import place
from sharding.errors import UserError

_ASKED = (
    ("partition", "NAME", "partition of the nodes"),
    ("account", "NAME", "account that is charged"),
    ("qos", "NAME", "quality of service"),
    ("mem", "SIZE", "memory of a node"),
    ("time", "LIMIT", "time limit of the job: minutes, hours:minutes:seconds, or days-hours"),
    ("job-name", "NAME", "name in the queue and of the logs"),
)
_SHORT = {
    "N": "nodes",
    "G": "gpus",
    "c": "cpus-per-task",
    "t": "time",
    "a": "array",
    "d": "dependency",
    "J": "job-name",
    "o": "output",
}
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_NO_LIMIT = {"unlimited", "infinite", "-1"}
TOLD_MIN = 4
"""A training is told to save so many minutes before its limit at the latest: by launch/train.sbatch three, which SLURM
may take for one more."""


def add(command: argparse.ArgumentParser) -> None:
    """What SLURM is to be asked for."""
    asked = command.add_argument_group("as for sbatch")
    for name, metavar, text in _ASKED:
        asked.add_argument(f"--{name}", metavar=metavar, help=text)
    asked.add_argument(
        "--log",
        type=place,
        metavar="DIR",
        help="folder of the logs, made if it is not there (default: this one)",
    )
    asked.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="any other; may be repeated"
    )
    command.add_argument(
        "--prologue",
        metavar="FILE",
        help="bash lines that the job runs first: modules, an environment, a container",
    )
    command.add_argument("--print", action="store_true", help="print the commands and submit nothing")


def of(args: argparse.Namespace, not_here: Mapping[str, str]) -> list[str]:
    """The options for sbatch in `args`, the user's own last: they win.

    `UserError` where one says nothing, or is one of `not_here`, which tells what to do in its place.
    """
    given = [(name, getattr(args, name.replace("-", "_"))) for name, _, _ in _ASKED]
    for name, value in [*given, ("log", args.log), *(("sbatch", word) for word in args.sbatch)]:
        if value is not None and not value.strip():
            raise UserError(f"an empty --{name}; is a variable of the shell not set?")
    words = [*(f"--{name}={value}" for name, value in given if value is not None), *args.sbatch]
    found = named(words)
    for name, remedy in not_here.items():
        if name in found:
            raise UserError(f"--sbatch --{name}: {remedy}")
    if set(found.get("job-name", "")) & {"/", "%"}:
        raise UserError(
            f"--job-name {found['job-name']}: the logs are called by it, so it can have no / and no %"
        )
    if "time" in found:
        minutes(found["time"])
    return words


def named(words: Sequence[str]) -> dict[str, str]:
    """The values of sbatch's options `words` by the options' long names; of several the last one counts."""
    found: dict[str, str] = {}
    for word, following in itertools.pairwise([*words, "-"]):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        elif word[:1] == "-" and word[1:2] in _SHORT:
            name, value = _SHORT[word[1]], word[2:].strip()
            equals = value
        else:
            continue
        found[name] = value if equals or following.startswith("-") else following
    return found


def gpus(found: Mapping[str, str]) -> int | None:
    """The GPUs of a node that the options `found` ask for, in whichever way; None where they do not say."""
    parts = found["gpus-per-node"].split(",") if "gpus-per-node" in found else []
    parts = parts or [part for part in found.get("gres", "").split(",") if re.match(r"gpu(:|$)", part)]
    counts = [part.rpartition(":")[2] for part in parts]  # "8", "h100:8", or a name alone
    return sum(int(count) if count.isdecimal() else 1 for count in counts) or None


def minutes(limit: str) -> float | None:
    """A time limit as sbatch reads it; None is none. `UserError` where it could not."""
    if limit.lower() in _NO_LIMIT:
        return None
    parts = _TIME.fullmatch(limit)
    if not parts:
        raise UserError(f"--time {limit}: write minutes, hours:minutes:seconds, or days-hours")
    days, *rest = parts.groups()
    numbers = [int(number) for number in rest if number]
    if days or len(numbers) == 3:
        hours, mins, seconds = [*numbers, 0, 0][:3]
        total = 1440 * int(days or 0) + 60 * hours + mins + seconds / 60
    else:
        mins, seconds = [*numbers, 0][:2]
        total = mins + seconds / 60
    return total or None


def prologue_of(args: argparse.Namespace) -> list[str]:
    """What the job's script is told of the prologue. `UserError` where bash cannot read it."""
    if args.prologue is None:
        return []
    path = Path(place(args.prologue))
    if not path.is_file():
        raise UserError(f"--prologue {path}: no such file")
    if b"\r\n" in path.read_bytes():
        raise UserError(
            f"--prologue {path}: its lines end as on Windows, of which bash makes a part of each last word; "
            "write them anew with sed -i 's/\\r$//'"
        )
    read = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    if read.returncode:
        raise UserError(f"--prologue {read.stderr.splitlines()[0]}")
    return ["--prologue", str(path.absolute())]

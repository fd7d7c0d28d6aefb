"""Options that several commands of `blvnet-launch` have."""

import argparse
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.arguments import at_least_1
from sharding.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Config

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
_PORTS = range(1024, 65536)
_RESTARTS, _ELASTIC_RESTARTS = 3, 100  # a host that is lost takes ranks of the others with it: that counts


def add_config(command: argparse.ArgumentParser) -> None:
    """The configuration of a training."""
    command.add_argument(
        "--config", required=True, metavar="FILE", help="YAML file, or the name of a shipped one"
    )
    command.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the configuration"
    )


def add_unchecked(command: argparse.ArgumentParser) -> None:
    """For machines that see neither shards nor run folder."""
    command.add_argument(
        "--unchecked",
        action="store_true",
        help="look at the configuration alone: this machine does not see the shards, or the run folder",
    )


def add_sbatch(command: argparse.ArgumentParser) -> None:
    """What SLURM is to be asked for."""
    asked = command.add_argument_group("as for sbatch")
    for name, metavar, text in (
        ("partition", "NAME", "partition of the nodes"),
        ("account", "NAME", "account that is charged"),
        ("qos", "NAME", "quality of service"),
        ("mem", "SIZE", "memory of a node"),
        ("time", "LIMIT", "time limit of the job"),
        ("job-name", "NAME", "name in the queue and of the logs"),
    ):
        asked.add_argument(f"--{name}", metavar=metavar, help=text)
    asked.add_argument(
        "--log", metavar="DIR", help="folder of the logs, made if it is not there (default: this one)"
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


def port(text: str) -> int:
    """A TCP port that needs no rights."""
    value = int(text)
    if value not in _PORTS:
        raise argparse.ArgumentTypeError(f"must be {_PORTS.start} to {_PORTS.stop - 1}")
    return value


def add_count(
    command: argparse._ActionsContainer,
    name: str,
    text: str,
    default: int | None = None,
    required: bool = False,
) -> None:
    """A number from 1 on."""
    command.add_argument(name, type=at_least_1, metavar="N", default=default, required=required, help=text)


def hosts(text: str) -> list[str]:
    """`first,second`: names or addresses."""
    found = text.split(",")
    for host in found:
        if not _HOST.fullmatch(host):
            raise argparse.ArgumentTypeError(f"{host!r} is no host; write --hosts first,second")
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError("a host stands there twice")
    return found


def nodes(text: str) -> range:
    """`4`, or `2:4`: every number of nodes that there may be."""
    fewest, colon, most = text.partition(":")
    found = range(at_least_1(fewest), at_least_1(most if colon else fewest) + 1)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: write the fewest first, as in 2:4")
    return found


def sizes(nodes: range, processes: int) -> list[int]:
    """All numbers of ranks on so many nodes; none where they do not change."""
    return [count * processes for count in nodes] if len(nodes) > 1 else []


def agent_size(nodes: range, processes: str) -> list[str]:
    """The options of `pipeline.agent` for so many nodes of `processes` ranks."""
    several = len(nodes) > 1
    return [
        f"--nnodes={nodes[0]}:{nodes[-1]}" if several else f"--nnodes={nodes[0]}",
        f"--nproc-per-node={processes}",
        f"--max-restarts={_ELASTIC_RESTARTS if several else _RESTARTS}",
    ]


def add_nodes(command: argparse.ArgumentParser, text: str) -> None:
    """How many nodes."""
    command.add_argument("--nodes", type=nodes, metavar="N[:N]", default=range(1, 2), help=text)


def of_sbatch(args: argparse.Namespace) -> list[str]:
    """The options for sbatch in `args`, the user's own last: they win."""
    names = ("partition", "account", "qos", "mem", "time", "job_name")
    given = [(name.replace("_", "-"), getattr(args, name)) for name in names]
    return [*(f"--{name}={value}" for name, value in given if value), *args.sbatch]


def prologue_of(args: argparse.Namespace) -> list[str]:
    """What the job's script is told of the prologue. `UserError` where bash cannot read it."""
    if not args.prologue:
        return []
    path = Path(args.prologue).expanduser()
    if not path.is_file():
        raise UserError(f"--prologue {path}: no such file")
    read = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    if read.returncode:
        raise UserError(f"--prologue {read.stderr.splitlines()[0]}")
    return ["--prologue", str(path.absolute())]


def cores(config: "Config", processes: int) -> int:
    """What the processes of a node keep busy: each trains, beside its loader's."""
    return processes * (config.data.workers + 1)


def processes_of(gpus: int | None) -> int:
    """Training processes of a node, as launch/train.sbatch has them."""
    return int(os.environ.get("PROCESSES") or gpus or 1)

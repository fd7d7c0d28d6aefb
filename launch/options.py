"""Options that several commands of `blvnet-launch` have."""

import argparse
import ipaddress
import os
import re
from typing import TYPE_CHECKING

from sharding.arguments import at_least_1
from sharding.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Config

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
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
        if not _HOST.fullmatch(host) and not _is_ipv6(host):
            raise argparse.ArgumentTypeError(
                f"{host!r} is no host; write --hosts first,second: names or addresses, without user and port"
            )
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError("a host stands there twice")
    return found


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def nodes(text: str) -> range:
    """`4`, or `2:4`: every number of nodes that there may be."""
    fewest, colon, most = text.partition(":")
    if not fewest.isdecimal() or (colon and not most.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"{text!r}: write a number, as in 4, or the fewest and the most, as in 2:4"
        )
    found = range(at_least_1(fewest), at_least_1(most if colon else fewest) + 1)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: write the fewest first, as in 2:4")
    return found


def sizes(nodes: range, processes: int) -> range:
    """All numbers of ranks on so many nodes; none where they do not change."""
    if not several(nodes):
        return range(0)
    return range(nodes[0] * processes, nodes[-1] * processes + 1, processes)


def several(nodes: range) -> bool:
    """Whether their number may change."""
    return nodes[0] != nodes[-1]


def agent_size(nodes: range, processes: str) -> list[str]:
    """The options of `pipeline.agent` for so many nodes of `processes` ranks."""
    elastic = several(nodes)
    return [
        f"--nnodes={nodes[0]}:{nodes[-1]}" if elastic else f"--nnodes={nodes[0]}",
        f"--nproc-per-node={processes}",
        f"--max-restarts={_ELASTIC_RESTARTS if elastic else _RESTARTS}",
    ]


def add_nodes(command: argparse.ArgumentParser, text: str) -> None:
    """How many nodes."""
    command.add_argument("--nodes", type=nodes, metavar="N[:N]", default=range(1, 2), help=text)


def cores(config: "Config", processes: int) -> int:
    """What the processes of a node keep busy: each trains, beside its loader's."""
    return processes * (config.data.workers + 1)


def processes_of(gpus: int | None) -> int:
    """Training processes of a node, as launch/train.sbatch has them."""
    told = os.environ.get("PROCESSES")
    if not told:
        return gpus or 1
    if not told.isdecimal() or not int(told):
        raise UserError(f"PROCESSES={told}: the variable is the number of training processes of a node")
    return int(told)

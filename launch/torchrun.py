"""`blvnet-launch torchrun`: the exact command for each host, where there is no scheduler."""

import argparse
import re
import shlex

from launch import options
from sharding.arguments import Arguments
from sharding.errors import UserError

PORT = 29400


def add(commands: "argparse._SubParsersAction[Arguments]") -> None:
    """The command's options."""
    bare = commands.add_parser(
        "torchrun",
        help="print the command for each of several hosts",
        description="Print the command that starts the training on each host, where there is no scheduler.",
    )
    bare.add_argument(
        "--hosts",
        required=True,
        type=options.hosts,
        metavar="HOST,HOST",
        help="names or addresses by which they reach each other; they meet at the first one",
    )
    options.add_count(
        bare, "--min-hosts", "go on when hosts are lost, down to N, and grow when they return (default: all)"
    )
    options.add_count(bare, "--nproc", "training processes of each host: its GPUs", required=True)
    bare.add_argument(
        "--port", type=options.port, default=PORT, metavar="N", help=f"of the first host (default: {PORT})"
    )
    options.add_unchecked(bare)
    options.add_config(bare)
    bare.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, and print the commands."""
    from pipeline import config as configuration
    from pipeline.checking import request

    config = configuration.load(args.config, args.overrides)
    most = len(args.hosts)
    nodes = range(args.min_hosts or most, most + 1)
    if not nodes:
        raise UserError(f"--min-hosts {args.min_hosts}: there are {most} hosts")
    elastic = options.several(nodes)
    # Of elastic ones the first by name has the first rank, and it is where the others meet: no host but it is needed.
    hosts = sorted(args.hosts) if elastic else args.hosts
    if not args.unchecked:
        found = request.check(config, most * args.nproc, sizes=options.sizes(nodes, args.nproc))
        print("\n".join(f"# {line}" for line in found))
    words = ["pipeline.train", "--config", args.config, *args.overrides]
    name = run_name(config.run.folder)
    print(f"# Each host: {options.cores(config, args.nproc)} cores, and the same files in the same places.")
    for host in hosts:
        print(f"\n# on {host}\n{as_text(agent(hosts, host, args.nproc, args.port, name, nodes), words)}")
    starts = "The first command waits ten minutes for the last one."
    if elastic:
        starts = (
            f"It starts when {nodes[0]} are there, and needs {hosts[0]}; the others may be lost, and return."
        )
    print(f"\n# {starts} Ctrl-C on any host stops all with a checkpoint;")
    print(f"# the same commands go on from the newest one of {config.run.folder}, which all hosts must see.")
    return 0


def agent(hosts: list[str], host: str, processes: int, port: int, name: str, nodes: range) -> list[str]:
    """The options of `pipeline.agent` on `host`, up to the module that it starts; `nodes`: how many there may be."""
    return [
        *("python", "-m", "pipeline.agent", *options.agent_size(nodes, str(processes))),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={hosts[0]}:{port}", f"--rdzv-id={name}"),
        # Told, the agents compare no names: a host may know itself by another one than the others do.
        f"--rdzv-conf=is_host={int(host == hosts[0])},hosts={'/'.join(hosts)}",
        *(f"--local-addr={host}", "-m"),
    ]


def as_text(agent: list[str], words: list[str]) -> str:
    """Shell text on three lines."""
    cut = next(i for i, word in enumerate(agent) if word.startswith("--rdzv-backend"))
    return " \\\n    ".join(map(shlex.join, (agent[:cut], agent[cut:-1], [agent[-1], *words])))


def run_name(folder: str) -> str:
    """What a run is called by its folder."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", folder.rstrip("/").rpartition("/")[2]) or "run"

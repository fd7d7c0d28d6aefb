"""What `blvnet-launch preflight` starts on each node; by itself it looks at this machine.

    python -m pipeline.preflight node --config blvnet-tam-50-f8x2-v2 data.root=s3://bucket/sthv2 run.folder=runs/a
    python -m pipeline.preflight exchange --first HOST:PORT --rank 0 --ranks 2

`node` prints a report of this node as one line, `exchange` the MB/s of an all-reduce with the others. Nothing is kept.
"""

import os

if __name__ == "__main__":
    # Before torch is imported, which reads it then: what fails between nodes is a row of the table, not stacks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")

import time
from collections.abc import Sequence
from dataclasses import replace

from pipeline import config as configuration
from pipeline.checking import exchange, node
from pipeline.checking.report import to_line
from sharding import storage
from sharding.arguments import Arguments, at_least_1
from sharding.errors import UserError, one_line_errors

STORE_S = 5.0
"""That a store may be away before it is told, here, where somebody waits for the table."""


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 where an exchange fails."""
    args = parser().parse_args(argv)
    if args.what == "node":
        config = configuration.load(args.config, args.overrides)
        storage.give_up_after(STORE_S)
        processes = args.processes or node.processes()
        report = node.look(config, processes, processes * args.nodes)
        print(to_line(replace(report, clock=time.time())), flush=True)
        return 0
    host, _, port = args.first.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--first {args.first}: write HOST:PORT")
    try:
        rate = exchange.run(exchange.Place(args.rank, args.ranks, host, int(port)), args.timeout)
    except RuntimeError as error:
        print(f"rank {args.rank}: {str(error).partition(chr(10))[0]}", flush=True)
        return 1
    print(f"{rate:.1f} MB/s", flush=True)
    return 0


def parser() -> Arguments:
    """The options."""
    parser = Arguments(prog="python -m pipeline.preflight", description="Look at a node before a training.")
    commands = parser.add_subparsers(dest="what", required=True)
    alone = commands.add_parser("node", help="this node by itself: a report as one line")
    alone.add_argument(
        "--processes", type=at_least_1, help="training processes here (default: its GPUs, or 1)"
    )
    alone.add_argument("--nodes", type=at_least_1, default=1, help="nodes of the training (default: 1)")
    alone.add_argument("--config", required=True, help="YAML file, or the name of a shipped one")
    alone.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the configuration")
    together = commands.add_parser("exchange", help="an all-reduce with other nodes")
    together.add_argument(
        "--first", required=True, metavar="HOST:PORT", help="where the node of rank 0 listens"
    )
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")
    ranks = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1")
    together.add_argument("--rank", type=int, default=int(rank), help="(default: the launcher's, or SLURM's)")
    together.add_argument("--ranks", type=at_least_1, default=int(ranks), help="(default: likewise)")
    together.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="(default: 10)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

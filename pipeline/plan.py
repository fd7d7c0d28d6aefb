"""What the plan of an epoch costs at a given scale, without any data.

python -m pipeline.plan --samples 10000000 --ranks 1536 --workers 12
"""

from collections.abc import Sequence

from pipeline.config import WINDOW
from pipeline.measuring.scale import Scale, table
from pipeline.order import position
from pipeline.order.plan import Order, default_lanes, lane_window
from sharding.arguments import Arguments
from sharding.errors import UserError, one_line_errors

_NUMBERS = [
    ("--samples", None, "samples of the split"),
    ("--ranks", None, "training processes"),
    ("--workers", 4, "loader processes a rank"),
    ("--samples-per-shard", 128, "samples of a shard"),
    ("--bytes-per-sample", 1_200_000, "mean bytes of a sample in its tar"),
    ("--global-batch", 0, "clips a step on all ranks together (default: 8 a rank)"),
    ("--window", WINDOW, "data.window, which the lanes share"),
    ("--lanes", 0, "data.lanes (default: as a run has it)"),
    ("--seed", 0, "run.seed"),
]


def parser() -> Arguments:
    """The options."""
    parser = Arguments(
        prog="python -m pipeline.plan", description="What the plan of an epoch costs, without any data."
    )
    for option, default, text in _NUMBERS:
        shown = f"{text} (default: {default})" if default and "default" not in text else text
        parser.add_argument(option, type=int, required=default is None, default=default, help=shown)
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    for option, _, _ in _NUMBERS:
        least = 0 if option in ("--global-batch", "--lanes", "--seed") else 1
        if getattr(args, option[2:].replace("-", "_")) < least:
            raise UserError(f"{option}: must be at least {least}")
    batch = args.global_batch or 8 * args.ranks
    position.check_shares(batch, args.ranks, "--global-batch")
    if batch > args.samples:
        raise UserError(f"--global-batch: {batch} is more than the {args.samples} samples")
    lanes = args.lanes or default_lanes(args.ranks * args.workers, batch)
    order = Order(args.seed, lanes, lane_window(args.window, lanes))
    scale = Scale(
        args.samples, args.samples_per_shard, args.bytes_per_sample, args.ranks, args.workers, batch, order
    )
    print("\n".join(table(scale)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What the plan of an epoch costs at a given scale, without any data; and what a node would wait for.

    python -m pipeline.plan --samples 10000000 --ranks 1536 --workers 12
    python -m pipeline.plan --measured rates.json --gpus 8 --cores 96 --store 2000 --step 800 --workers 11
    python -m pipeline.plan --films rates.json --cores 16 --store 125 --cache-gb 300

The second form takes what `python -m pipeline.bench loader --save rates.json` measured on such a machine. The third one
says how to train on films there: it takes what `pipeline.bench films --save` measured.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from pipeline.config import WINDOW
from pipeline.measuring import node, rates, scale, ways
from pipeline.measuring.node import Node
from pipeline.measuring.scale import Scale
from pipeline.order import position
from pipeline.order.plan import Order, default_lanes, lane_window
from sharding.arguments import Arguments, at_least_1, place
from sharding.errors import UserError, one_line_errors

_NUMBERS = [
    ("--samples", None, "samples of the split (default with --measured: as measured)"),
    ("--ranks", None, "training processes (default with --measured: those of one node)"),
    ("--workers", 4, "loader processes a rank"),
    ("--samples-per-shard", 128, "samples of a shard"),
    ("--bytes-per-sample", 1_200_000, "mean bytes of a sample in its tar"),
    ("--global-batch", 0, "samples a step on all ranks together (default: 8 a rank)"),
    ("--window", WINDOW, "data.window, which the lanes share"),
    ("--lanes", 0, "data.lanes (default: as a run has it)"),
    ("--seed", 0, "run.seed"),
]
_OF_A_NODE = [
    ("--gpus", int, "GPUs of a node, each with its training process"),
    ("--cores", int, "cores of a node"),
    ("--store", float, "MB/s that the store gives a node (default: as measured)"),
    ("--step", float, "clips/s of one GPU that waits for nothing: see pipeline.bench step"),
    ("--cache-gb", float, "data.cache_gb of a node (default: no cache)"),
    ("--memory-gb", float, "memory of a node that loading may take (default: not checked)"),
]
_OF_FILMS = ("--gpus", "--cores", "--store", "--step", "--cache-gb")
_MOST_SHARDS, _MOST_LANES = 100_000_000, 1_000_000
"""Of a plan that is looked at as a whole: it takes a GB and two minutes."""


def parser() -> Arguments:
    """The options."""
    parser = Arguments(
        prog="python -m pipeline.plan",
        description="What the plan of an epoch costs, without any data; with --measured, what a node would wait for.",
    )
    for option, default, text in _NUMBERS:
        shown = f"{text} (default: {default})" if default and "default" not in text else text
        parser.add_argument(option, type=int, default=default, help=shown)
    on_paper = parser.add_argument_group("a node on paper")
    on_paper.add_argument(
        "--measured",
        metavar="FILE",
        type=place,
        help="rates of such a machine: pipeline.bench loader --save FILE",
    )
    on_paper.add_argument(
        "--films",
        metavar="FILE",
        type=place,
        help="rates of films there: pipeline.bench films --save FILE; with --cores and --store, of a node's loaders",
    )
    on_paper.add_argument(
        "--epochs", type=at_least_1, default=50, help="with --films: epochs of a run (default: 50)"
    )
    for option, kind, text in _OF_A_NODE:
        on_paper.add_argument(option, type=kind, help=text)
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    of_a_node = [option for option, _, _ in _OF_A_NODE if _value(args, option) is not None]
    if args.films:
        return _films(args)
    if not args.measured and of_a_node:
        raise UserError(
            f"{of_a_node[0]}: a node on paper needs --measured FILE; pipeline.bench loader --save writes it"
        )
    _check_given(args, ("--gpus", "--cores", "--step") if args.measured else ("--samples", "--ranks"))
    for option, _, _ in _NUMBERS:
        least = 0 if option in ("--global-batch", "--lanes", "--seed") else 1
        value = _value(args, option)
        if value is not None and value < least:
            raise UserError(f"{option}: must be at least {least}")
    _check_amounts(args, of_a_node)
    print("\n".join(_node(args) if args.measured else _scale(args)))
    return 0


def _films(args: Namespace) -> int:
    if args.measured:
        raise UserError(
            "--films: not together with --measured, which is of one way alone; give one of the two"
        )
    _check_given(args, ("--cores", "--store"))
    _check_amounts(args, _OF_FILMS)
    measured = rates.load_films(args.films)
    measured = replace(measured, samples=args.samples or measured.samples)
    gpus = args.gpus or 1
    at = ways.Place(
        cores=args.cores,
        store_mb_s=args.store,
        cache_gb=args.cache_gb or 0.0,
        epochs=args.epochs,
        nodes=max(1, (args.ranks or gpus) // gpus),
        step_rate=gpus * args.step if args.step else inf,
    )
    print("\n".join(ways.lines(measured, at)))
    return 0


def _scale(args: Namespace) -> list[str]:
    batch = _batch(args, args.ranks, args.samples)
    per_shard, size = args.samples_per_shard, args.bytes_per_sample
    order = _order(args, args.ranks, batch, args.samples)
    shards = -(-args.samples // per_shard)
    for count, most, what, option in (
        (shards, _MOST_SHARDS, "shards", "--samples-per-shard"),
        (order.lanes, _MOST_LANES, "lanes", "--ranks, --workers or --lanes"),
    ):
        if count > most:
            raise UserError(f"{option}: {count:,} {what} are more than a plan may have ({most:,})")
    return scale.table(Scale(args.samples, per_shard, size, args.ranks, args.workers, batch, order))


def _node(args: Namespace) -> list[str]:
    measured = rates.load(args.measured)
    measured = replace(measured, samples=args.samples or measured.samples)
    ranks = args.ranks or args.gpus
    if ranks % args.gpus:
        raise UserError(f"--ranks: {ranks} are no whole nodes of {args.gpus} GPUs")
    batch = _batch(args, ranks, measured.samples)
    at = Node(
        gpus=args.gpus,
        cores=args.cores,
        workers=args.workers,
        store_mb_s=args.store or measured.store_mb_s,
        step_rate=args.step,
        global_batch=batch,
        order=_order(args, ranks, batch, measured.samples),
        nodes=ranks // args.gpus,
        cache_gb=args.cache_gb or 0.0,
        memory_gb=args.memory_gb,
    )
    return node.lines(measured, at)


def _order(args: Namespace, ranks: int, batch: int, samples: int) -> Order:
    lanes = args.lanes or default_lanes(ranks * args.workers, batch, samples)
    return Order(args.seed, lanes, lane_window(args.window, lanes))


def _batch(args: Namespace, ranks: int, samples: int) -> int:
    batch: int = args.global_batch or 8 * ranks
    position.check_shares(batch, ranks, "--global-batch")
    if batch > samples:
        raise UserError(f"--global-batch: {batch} is more than the {samples} samples")
    return batch


def _check_given(args: Namespace, needed: Sequence[str]) -> None:
    if missing := [option for option in needed if _value(args, option) is None]:
        raise UserError(f"{', '.join(missing)}: must be given; see python -m pipeline.plan --help")


def _check_amounts(args: Namespace, options: Sequence[str]) -> None:
    """`UserError` for those of `options` that are given and no amount of anything."""
    for option in options:
        if (value := _value(args, option)) is not None and not 0 < value < inf:
            raise UserError(f"{option}: must be more than 0 and finite")


def _value(args: Namespace, option: str) -> float | None:
    value: float | None = getattr(args, option[2:].replace("-", "_"))
    return value


if __name__ == "__main__":
    raise SystemExit(main())

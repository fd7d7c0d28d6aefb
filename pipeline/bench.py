"""Measure a machine and a store before training on them.

    python -m pipeline.bench loader --config configs/blvnet-tam-50-f8x2-v2.yaml data.root=s3://bucket/sthv2
    python -m pipeline.bench films --config configs/blvnet-tam-50-f8x2-v2.yaml data.root=s3://bucket/films
    torchrun --nproc-per-node 8 -m pipeline.bench step --config configs/blvnet-tam-50-f8x2-v2.yaml
    torchrun --nproc-per-node 8 -m pipeline.bench headspace --config configs/blvnet-tam-50-f8x2-v2.yaml data.root=...

`loader` reads and cuts clips as one rank of a training run does; `films` measures the ways to train on a set of films;
`step` trains on random clips that are there already; `headspace` trains on the run's own clips, kept in memory and then
as the loader makes them. Nothing is written, but for the rates of this machine with `--save FILE`, for `pipeline.plan`.
"""

from collections.abc import Sequence
from shlex import quote

from pipeline import config as configuration
from pipeline.measuring.film_rates import measure_films
from pipeline.measuring.headspace import measure_headspace
from pipeline.measuring.loader import measure_loader
from pipeline.measuring.machine import measure_rates
from pipeline.measuring.step import measure_step
from pipeline.ranks.distributed import joined
from sharding.arguments import Arguments, place
from sharding.errors import UserError, one_line_errors


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    config = configuration.load(args.config, args.overrides)
    if args.what in ("loader", "films") and args.seconds <= 0:
        raise UserError(f"--seconds {args.seconds:g}: must be more than 0")
    if args.what == "films":
        measured = measure_films(config, args.seconds)
        print("\n".join(measured.lines()))
        if args.save:
            measured.save(args.save)
            command = f"python -m pipeline.plan --films {quote(args.save)} --cores ... --store ..."
            print(f"rates of films here: {args.save}; {command}")
        return 0
    if args.what == "loader":
        print("\n".join(measure_loader(config, args.seconds).lines()))
        if args.save:
            measure_rates(config, args.seconds).save(args.save)
            print(
                f"rates of this machine: {args.save}; python -m pipeline.plan --measured {quote(args.save)} ..."
            )
        return 0
    if args.steps < 1:
        raise UserError(f"--steps {args.steps}: must be 1 or more")
    with joined(lambda: (config, config.run)) as (world, _):
        measure = measure_step if args.what == "step" else measure_headspace
        figures = measure(config, world, args.steps)
        if world.main:
            print("\n".join(figures.lines()))
    return 0


def parser() -> Arguments:
    """The options."""
    parser = Arguments(prog="python -m pipeline.bench", description="Measure this machine and the store.")
    commands = parser.add_subparsers(dest="what", required=True)
    loader = commands.add_parser("loader", help="clips/s from the store to batches, and the bottleneck")
    films = commands.add_parser("films", help="what clips of a set of films cost, decoded or turned to JPEGs")
    step = commands.add_parser("step", help="clips/s and peak memory of training on random clips")
    headspace = commands.add_parser("headspace", help="clips/s with a perfect loader, and with this one")
    for command in (loader, films, step, headspace):
        command.add_argument("--config", required=True, help="YAML file, or the name of a shipped one")
        command.add_argument(
            "overrides", nargs="*", metavar="key.path=value", help="changes to the configuration"
        )
    loader.add_argument(
        "--seconds", type=float, default=20.0, help="how long each of two passes takes (default: 20)"
    )
    films.add_argument("--seconds", type=float, default=20.0, help="how long it takes (default: 20)")
    for command in (loader, films):
        command.add_argument(
            "--save",
            metavar="FILE",
            type=place,
            help="measure what pipeline.plan needs of this machine, and write it there",
        )
    for command in (step, headspace):
        command.add_argument(
            "--steps", type=int, default=20, help="measured steps, after a warm-up (default: 20)"
        )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

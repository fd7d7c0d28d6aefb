"""`blvnet-launch slurm train`: a training on several nodes, looked at before it waits in the queue."""

import argparse
from pathlib import Path

from launch import options, slurm, submission
from sharding.arguments import Arguments


def add(jobs: "argparse._SubParsersAction[Arguments]") -> None:
    """The command's options."""
    train = jobs.add_parser(
        "train",
        help="training on several nodes",
        description="Submit launch/train.sbatch: it trains on several nodes, and goes on by itself after its time "
        "limit or the loss of a node. What would end it at once is said before it is queued.",
    )
    options.add_nodes(train, "nodes (default: 1); 2:4: as many of 2 to 4 as are free, at each start")
    options.add_count(train, "--gpus", "GPUs of each node (default: the partition's)")
    options.add_count(
        train, "--cpus", "cores of each node (default: what its processes and their loaders keep busy)"
    )
    options.add_sbatch(train)
    train.add_argument(
        "--preflight", action="store_true", help="look at all nodes before the training; end where one fails"
    )
    options.add_unchecked(train)
    options.add_config(train)
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, submit, and say how to look, stop and go on."""
    from pipeline import config as configuration
    from pipeline.checking import request

    config = configuration.load(args.config, args.overrides)
    processes = options.processes_of(args.gpus)
    cpus = args.cpus or options.cores(config, processes)
    asked = [f"--gpus-per-node={args.gpus}"] if args.gpus else []
    asked += [f"--cpus-per-task={cpus}", *options.of_sbatch(args)]
    wish = slurm.Wish(asked, args.log, [*options.prologue_of(args), *["--preflight"] * args.preflight])
    commands = slurm.train_commands(wish, args.nodes, args.config, args.overrides)
    if args.print:
        print(commands)
        return 0
    submission.check_sbatch()
    if not args.unchecked:
        follows = wish.given("dependency") is not None
        print(
            "\n".join(
                request.check(
                    config, args.nodes[-1] * processes, follows, options.sizes(args.nodes, processes)
                )
            )
        )
    numbers = submission.submit(commands)
    if numbers:
        submission.say(*_what_to_do(numbers[0], wish, args, config.run.folder))
    return 0


def _what_to_do(
    job: str, wish: slurm.Wish, args: argparse.Namespace, folder: str
) -> tuple[str, list[tuple[str, str]]]:
    usual = Path(wish.logs or "").absolute() / f"{slurm.job_name(wish, slurm.TRAIN)}-{job}.log"
    log = wish.given("output") or str(usual)
    fewest, most = args.nodes[0], args.nodes[-1]
    nodes = f"{fewest} to {most} nodes" if most > fewest else "1 node" if most == 1 else f"{most} nodes"
    each = f"{args.gpus} GPUs and " if args.gpus else ""
    return f"job {job}: {nodes}, {each}{wish.given('cpus-per-task')} cores each", [
        ("log", log),
        ("look", f"squeue --job={job}; tail -F {log}"),
        (
            "stop",
            f"scancel --signal=TERM {job}  # a checkpoint, and back to the queue, from where it goes on",
        ),
        (
            "end",
            f"scancel {job}  # goes on from the newest checkpoint of {folder} when the same command is given again",
        ),
    ]

"""`blvnet-launch slurm train`: a training on several nodes, looked at before it waits in the queue."""

import argparse
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from launch import options, slurm, slurm_options, submission
from sharding.arguments import Arguments
from sharding.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Config

_NOT_HERE = {
    "nodes": "give --nodes, for which it is looked whether they can share the global batch",
    "gpus": "give --gpus without --sbatch: the GPUs of each node, each of which is to have a process",
    "array": "its tasks would be trainings in one run folder; leave it out",
}


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
    slurm_options.add(train)
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
    asked = [f"--gpus-per-node={args.gpus}"] if args.gpus else []
    others = slurm_options.of(args, _NOT_HERE)
    found = slurm_options.named([*asked, *others])
    _check_time(found)
    gpus = slurm_options.gpus(found)
    processes = options.processes_of(gpus)
    cpus = args.cpus or options.cores(config, processes)
    asked += [f"--cpus-per-task={cpus}", *others]
    script = [*slurm_options.prologue_of(args), *["--preflight"] * args.preflight]
    wish = slurm.Wish(asked, args.log, script)
    commands = slurm.train_commands(wish, args.nodes, args.config, args.overrides)
    if args.print:
        print(commands)
        return 0
    submission.check_sbatch()
    if not args.unchecked:
        follows = wish.given("dependency") is not None
        sizes = options.sizes(args.nodes, processes)
        print("\n".join(request.check(config, args.nodes[-1] * processes, follows, sizes)))
    numbers = submission.submit(commands, wish.logs)
    if numbers:
        submission.say(_title(numbers[0], wish, args.nodes, gpus), _what_to_do(numbers[0], wish, config))
    return 0


def _check_time(found: Mapping[str, str]) -> None:
    """`UserError` where the time limit is over before anything could be saved, again and again."""
    limit = slurm_options.minutes(found.get("time", "0"))
    if limit is not None and limit <= slurm_options.TOLD_MIN and "signal" not in found:
        raise UserError(
            f"--time {found['time']}: a training is told to save 3 to {slurm_options.TOLD_MIN} minutes before its "
            "limit, and would be told at once, each time that it begins; give it more"
        )


def _title(job: str, wish: slurm.Wish, nodes: range, gpus: int | None) -> str:
    fewest, most = nodes[0], nodes[-1]
    count = f"{fewest} to {most} nodes" if most > fewest else "1 node" if most == 1 else f"{most} nodes"
    each = f"{gpus} GPUs and " if gpus else ""
    return f"job {job}: {count}, {each}{wish.given('cpus-per-task')} cores each"


def _what_to_do(job: str, wish: slurm.Wish, config: "Config") -> list[tuple[str, str]]:
    log = slurm.train_log(wish, job)
    return [
        ("log", log),
        ("look", f"squeue --job={job}; tail -F {shlex.quote(log)}"),
        (
            "stop",
            f"scancel --signal=TERM {job}  # a checkpoint, and back to the queue, from where it goes on",
        ),
        (
            "end",
            f"scancel {job}  # goes on from the newest checkpoint of {config.run.folder} when the same command is "
            "given again",
        ),
    ]

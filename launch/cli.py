"""`blvnet-launch`: starts training and sharding, on this machine or on many. Needs no torch itself."""

import argparse
import sys

from launch import kubernetes_files, local, preflight, slurm_shard, slurm_tasks, slurm_train, torchrun
from launch.submission import RefusedError
from sharding.arguments import Arguments
from sharding.errors import one_line_errors


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 0 started, 2 a user's mistake, else that of sbatch."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        status: int = args.run(args)
    except RefusedError as refused:
        return refused.status
    return status


def parse(words: list[str]) -> argparse.Namespace:
    """The options in `words`; what a command does not know, and what stands behind `--`, is another program's."""
    words = _joined(words)
    split = words.index("--") if "--" in words else len(words)
    found = parser()
    args, others = found.parse_known_args(words[:split])
    others += words[split + 1 :]
    if "build" in args:
        args.build = others
    elif "overrides" in args and not any(word.startswith("-") for word in others):
        args.overrides += others  # argparse takes those before the next option alone
    elif others:
        found.error(f"unrecognized arguments: {' '.join(others)}")
    return args


def _joined(words: list[str]) -> list[str]:
    """`--sbatch --qos=x` as `--sbatch=--qos=x`: argparse takes no value that looks like an option."""
    made: list[str] = []
    for word in words:
        if made and made[-1] == "--sbatch":
            made[-1] += f"={word}"
        else:
            made.append(word)
    return made


def parser() -> Arguments:
    """The options."""
    parser = Arguments(prog="blvnet-launch", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    local.add(commands)
    torchrun.add(commands)
    batch = commands.add_parser("slurm", help="submit to SLURM", description="Submit to SLURM.")
    jobs = batch.add_subparsers(required=True, metavar="JOB")
    for job in (slurm_train, slurm_shard, slurm_tasks):
        job.add(jobs)
    kubernetes_files.add(commands)
    preflight.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

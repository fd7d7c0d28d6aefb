"""`blvnet-launch`: starts training and sharding, on this machine or under SLURM. Needs no torch itself."""

import argparse
import os
import shutil
import subprocess
import sys

from launch import local, slurm


def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 0 started, 2 a user's mistake, else that of sbatch."""
    words = sys.argv[1:] if argv is None else argv
    # What follows "--" is for blvnet-shard; argparse would look for options of ours in it.
    split = words.index("--") if "--" in words else len(words)
    args = parser().parse_args(words[:split])
    args.build = words[split + 1 :]
    problem = _problem(args)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    status: int = args.run(args)
    return status


def _problem(args: argparse.Namespace) -> str | None:
    """What is wrong with the request, in one line; better now than after hours in a queue."""
    if "config" in args:
        # late: --help needs no configuration
        from pipeline.config import UserError, load

        try:
            load(args.config, args.overrides)
        except UserError as error:
            return str(error)
    elif "tasks" in args and not _out(args.build):
        return "slurm shard: give the options of blvnet-shard build, with --out, after `--`"
    if "print" in args and not args.print and not shutil.which("sbatch"):
        return "sbatch is not on this machine's PATH: submit from a login node, or look at the commands with --print"
    return None


def _local(args: argparse.Namespace) -> int:
    command = local.torchrun(args.config, args.overrides, args.nproc or local.default_processes())
    # torchrun takes this process's place, so that signals and the exit status need no passing on.
    os.execv(command[0], command)


def _slurm_train(args: argparse.Namespace) -> int:
    options = [f"--gpus-per-node={args.gpus}"] if args.gpus else []
    return _submit(
        slurm.train_commands(args.config, args.overrides, args.nodes, options + _options(args)), args
    )


def _slurm_shard(args: argparse.Namespace) -> int:
    out = _out(args.build)
    assert out is not None
    finalize = [out, *_of_finalize(args.build)]
    return _submit(slurm.shard_commands(args.build, finalize, args.tasks, args.cpus, _options(args)), args)


def _submit(commands: str, args: argparse.Namespace) -> int:
    print(commands, flush=True)
    return 0 if args.print else subprocess.run(["bash", "-euc", commands]).returncode


def _options(args: argparse.Namespace) -> list[str]:
    further: list[str] = args.sbatch
    return [f"--time={args.time}", *further] if args.time else further


def _out(build: list[str]) -> str | None:
    """The --out among the options of blvnet-shard build."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--out")
    out: str | None = parser.parse_known_args(build)[0].out
    return out


def _of_finalize(build: list[str]) -> list[str]:
    """Those options of blvnet-shard build that finalize needs as well: which splits, and how many failures are fine."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--split", action="append", default=[])
    parser.add_argument("--max-failures")
    found = parser.parse_known_args(build)[0]
    limit = [] if found.max_failures is None else ["--max-failures", found.max_failures]
    return [*(word for split in found.split for word in ("--split", split)), *limit]


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="blvnet-launch", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    here = commands.add_parser("local", help="train on this machine", description="Train on this machine.")
    here.add_argument("--nproc", metavar="N", help="training processes (default: one for each GPU, or 1)")
    _add_config(here)
    here.set_defaults(run=_local)

    batch = commands.add_parser("slurm", help="submit to SLURM", description="Submit to SLURM.")
    jobs = batch.add_subparsers(required=True, metavar="JOB")
    train = jobs.add_parser(
        "train",
        help="training on several nodes",
        description="Submit launch/train.sbatch: it trains on several nodes, and goes on by itself after its time "
        "limit or the loss of a node.",
    )
    train.add_argument("--nodes", type=_count, default=1, metavar="N", help="nodes (default: 1)")
    train.add_argument(
        "--gpus", type=_count, metavar="N", help="GPUs of each node (default: the partition's)"
    )
    _add_sbatch(train)
    _add_config(train)
    train.set_defaults(run=_slurm_train)

    shard = jobs.add_parser(
        "shard",
        help="sharding on many machines",
        usage="blvnet-launch slurm shard --tasks N [options] -- OPTIONS OF blvnet-shard build",
        description="Submit launch/shard.sbatch twice: an array that builds the shards, then the manifests.",
    )
    shard.add_argument(
        "--tasks", type=_count, required=True, metavar="N", help="parts that the work is cut into"
    )
    shard.add_argument("--cpus", type=_count, default=1, metavar="N", help="cores of each task (default: 1)")
    _add_sbatch(shard)
    shard.set_defaults(run=_slurm_shard)
    return parser


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", required=True, metavar="FILE", help="YAML file, or the name of a shipped one"
    )
    command.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the configuration"
    )


def _add_sbatch(command: argparse.ArgumentParser) -> None:
    command.add_argument("--time", metavar="LIMIT", help="time limit of the job, as for sbatch")
    command.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="=OPTION",
        help="an option for sbatch; may be repeated",
    )
    command.add_argument("--print", action="store_true", help="print the commands and submit nothing")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""`blvnet-launch slurm shard`: an array of builds, and the manifests when all its tasks are done."""

import argparse
import shlex
from pathlib import Path

from launch import options, slurm, slurm_options, submission
from launch.submission import RefusedError
from sharding.arguments import Arguments
from sharding.errors import UserError

_NOT_HERE = {
    "output": "both jobs need to know where the logs are; give --log DIR",
    "array": "give --tasks; scontrol update jobid=JOB arraytaskthrottle=8 lets 8 run at a time",
}


def add(jobs: "argparse._SubParsersAction[Arguments]") -> None:
    """The command's options; all others are of blvnet-shard build."""
    shard = jobs.add_parser(
        "shard",
        help="sharding on many machines",
        usage="blvnet-launch slurm shard --tasks N [options] [OPTIONS OF blvnet-shard build]",
        description="Submit launch/shard.sbatch twice: an array that builds the shards, then the manifests. A task "
        "that fails is tried twice more.",
        allow_abbrev=False,
    )
    options.add_count(shard, "--tasks", "parts that the work is cut into", required=True)
    options.add_count(shard, "--cpus", "cores of each task (default: 1)", default=1)
    slurm_options.add(shard)
    shard.set_defaults(run=run, build=[])


def check_build(words: list[str]) -> argparse.Namespace:
    """The options of blvnet-shard build among `words`, read by its own parser, which ends with one line."""
    from sharding.options import parser

    found = parser().parse_args(["build", *words])
    for name in ("task_index", "task_count"):
        if getattr(found, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: the array gives it to each task; leave it out")
    if not found.out:
        raise UserError("an empty --out; is a variable of the shell not set?")
    return found


def run(args: argparse.Namespace) -> int:
    """Submit both jobs, and say how to look, stop and go on."""
    found = check_build(args.build)
    logs = str(Path(args.log).absolute()) if args.log else None
    wish = slurm.Wish(slurm_options.of(args, _NOT_HERE), logs, slurm_options.prologue_of(args))
    commands = slurm.shard_commands(wish, args.tasks, args.cpus, args.build, [found.out, *of_finalize(found)])
    if args.print:
        print(commands)
        return 0
    submission.check_sbatch()
    try:
        numbers = submission.submit(commands, wish.logs)
    except RefusedError as refused:
        for job in refused.numbers:  # of the array
            print(
                f"job {job} builds; what is to write the manifests was refused: to stop the builds, scancel {job}"
            )
        raise
    if len(numbers) == 2:
        _say(numbers[0], numbers[1], wish, args.tasks)
    return 0


def of_finalize(build: argparse.Namespace) -> list[str]:
    """Those options of the build that finalize needs as well: which splits, and how many failures are fine."""
    limit = build.max_failures
    splits = [word for split in build.split or [] for word in ("--split", split)]
    return [*splits, *([] if limit == _default_limit() else ["--max-failures", limit])]


def _default_limit() -> str:
    from sharding.options import parser

    found: str = parser().parse_args(["finalize", "x"]).max_failures
    return found


def _say(array: str, last: str, wish: slurm.Wish, tasks: int) -> None:
    logs = f"{wish.logs or Path.cwd()}/{slurm.job_name(wish, slurm.SHARD)}-{array}"
    submission.say(
        f"job {array}: {tasks} tasks that build; job {last}: the manifests, when all have ended",
        [
            ("log", f"{logs}_TASK.log, {logs}-finalize.log"),
            ("look", f"squeue --jobs={array},{last}; blvnet-launch slurm tasks {shlex.quote(logs)} {tasks}"),
            ("stop", f"scancel {array} {last}"),
            ("go on", "the same command again: finished shards are kept"),
        ],
    )

"""The shell commands that submit this folder's batch scripts. What is printed is what is run."""

import shlex
from pathlib import Path

TRAIN = Path(__file__).with_name("train.sbatch")
SHARD = Path(__file__).with_name("shard.sbatch")


def train_commands(config: str, overrides: list[str], nodes: int, options: list[str]) -> str:
    """Shell text that submits a training on `nodes` nodes; `options` are further ones for sbatch."""
    return _sbatch([f"--nodes={nodes}", *options, str(TRAIN), config, *overrides])


def shard_commands(build: list[str], finalize: list[str], tasks: int, cpus: int, options: list[str]) -> str:
    """Shell text that submits an array of builds, and the writing of the manifests for when all have succeeded.

    `build`, `finalize`: arguments of these commands of `blvnet-shard`; `options`: further ones for each sbatch.
    """
    array = [f"--array=0-{tasks - 1}", f"--cpus-per-task={cpus}", *options, str(SHARD), "build", *build]
    last = ["--kill-on-invalid-dep=yes", *options, str(SHARD), "finalize", *finalize]
    return f"job=$({_sbatch(['--parsable', *array])})\n{_sbatch(last, ['--dependency=afterok:$job'])}"


def _sbatch(words: list[str], expanded: list[str] | None = None) -> str:
    """An sbatch command, each option on a line; `expanded` words may use the shell's variables."""
    lines = ["sbatch", *(f'"{word}"' for word in expanded or [])]
    for word in words:
        if word.startswith("-") or word in (str(TRAIN), str(SHARD)):
            lines.append(shlex.quote(word))
        else:
            lines[-1] += " " + shlex.quote(word)
    return " \\\n    ".join(lines)

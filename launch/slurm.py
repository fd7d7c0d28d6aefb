"""The shell commands that submit this folder's batch scripts. What is printed is what is run."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from launch import options, slurm_options

TRAIN = Path(__file__).with_name("train.sbatch")
SHARD = Path(__file__).with_name("shard.sbatch")
_NAMES = {TRAIN: "blvnet-train", SHARD: "blvnet-shard"}


@dataclass(frozen=True)
class Wish:
    """What is asked of SLURM: `options` for every sbatch, the folder of the `logs`, options of the job's script."""

    options: list[str]
    logs: str | None = None
    script: list[str] = field(default_factory=list)

    def given(self, name: str) -> str | None:
        """The value of sbatch's option with this long name."""
        return slurm_options.named(self.options).get(name)


def job_name(wish: Wish, script: Path) -> str:
    """The job's name in the queue."""
    return wish.given("job-name") or _NAMES[script]


def train_commands(wish: Wish, nodes: range, config: str, overrides: list[str]) -> str:
    """Shell text that submits a training on as many of `nodes` nodes as are free; it writes the job's number."""
    count = f"{nodes[0]}-{nodes[-1]}" if options.several(nodes) else str(nodes[0])
    output = [f"--output={_plain(wish.logs)}/%x-%j.log"] if wish.logs else []
    words = ["--parsable", f"--nodes={count}", *output, *wish.options]
    return _with_folder(wish, _sbatch(words, TRAIN, [*wish.script, config, *overrides]))


def train_log(wish: Wish, job: str) -> str:
    """Where the log of the training is, whose number is `job`."""
    name = job_name(wish, TRAIN)
    given = wish.given("output")
    if given is None:
        return str(Path(wish.logs or "").absolute() / f"{name}-{job}.log")
    return given.replace("%j", job).replace("%x", name)


def shard_commands(wish: Wish, tasks: int, cpus: int, build: list[str], finalize: list[str]) -> str:
    """Shell text that submits an array of builds, and what follows when all have ended: a look at each, the manifests.

    `build`, `finalize`: arguments of these commands of `blvnet-shard`. Each job's number is written when it has one.
    """
    folder, name = wish.logs or str(Path.cwd()), job_name(wish, SHARD)
    words = ["--parsable", f"--array=0-{tasks - 1}", f"--cpus-per-task={cpus}", *wish.options]
    output = f"--output={_plain(folder)}/%x-%A_%a.log"
    array = _sbatch([*words, output], SHARD, [*wish.script, "build", *build])
    output = f"--output={shlex.quote(f'{_plain(folder)}/{name}-')}$job-finalize.log"
    words = ["--parsable", *wish.options, f"--job-name={name}-finalize"]
    logs = f"{shlex.quote(f'{folder}/{name}-')}$job"
    after = [*wish.script, "--after", "LOGS", str(tasks), "finalize", *finalize]
    last = _sbatch(words, SHARD, after, ["--dependency=afterany:$job", output])
    last = last.replace("--after LOGS", f"--after {logs}")
    return _with_folder(wish, f"job=$({array})\njob=${{job%%;*}}\necho $job\n{last}")


def _plain(folder: str) -> str:
    """`folder` as sbatch is told it in the name of a log, where a % stands for something else."""
    return folder.replace("%", "%%")


def _with_folder(wish: Wish, commands: str) -> str:
    return f"mkdir -p {shlex.quote(wish.logs)}\n{commands}" if wish.logs else commands


def _sbatch(words: list[str], script: Path, arguments: list[str], expanded: list[str] | None = None) -> str:
    """An sbatch command, each option on a line; `expanded` words may use the shell's variables."""
    lines = ["sbatch", *map(shlex.quote, words), *(expanded or []), shlex.quote(str(script))]
    for argument in arguments:
        if argument.startswith("--"):
            lines.append(shlex.quote(argument))
        else:
            lines[-1] += f" {shlex.quote(argument)}"
    return " \\\n    ".join(lines)

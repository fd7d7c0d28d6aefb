"""The shell commands that submit this folder's batch scripts. What is printed is what is run."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

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
        """The value of the last option `--name=value`."""
        found = [word for word in self.options if word.startswith(f"--{name}=")]
        return found[-1].partition("=")[2] if found else None


def job_name(wish: Wish, script: Path) -> str:
    """The job's name in the queue."""
    return wish.given("job-name") or _NAMES[script]


def train_commands(wish: Wish, nodes: range, config: str, overrides: list[str]) -> str:
    """Shell text that submits a training on as many of `nodes` nodes as are free; it writes the job's number."""
    count = f"{nodes[0]}-{nodes[-1]}" if len(nodes) > 1 else str(nodes[0])
    output = [f"--output={wish.logs}/%x-%j.log"] if wish.logs else []
    words = ["--parsable", f"--nodes={count}", *output, *wish.options]
    return _with_folder(wish, _sbatch(words, TRAIN, [*wish.script, config, *overrides]))


def shard_commands(wish: Wish, tasks: int, cpus: int, build: list[str], finalize: list[str]) -> str:
    """Shell text that submits an array of builds, and what follows when all have ended: a look at each, the manifests.

    `build`, `finalize`: arguments of these commands of `blvnet-shard`. Both jobs' numbers are written.
    """
    folder, name = wish.logs or str(Path.cwd()), job_name(wish, SHARD)
    words = ["--parsable", f"--array=0-{tasks - 1}", f"--cpus-per-task={cpus}", *wish.options]
    array = _sbatch([*words, f"--output={folder}/%x-%A_%a.log"], SHARD, [*wish.script, "build", *build])
    logs = f"{shlex.quote(f'{folder}/{name}-')}$job"
    expanded = ["--dependency=afterany:$job", f"--output={logs}-finalize.log"]
    words = ["--parsable", *wish.options, f"--job-name={name}-finalize"]
    after = [*wish.script, "--after", "LOGS", str(tasks), "finalize", *finalize]
    last = _sbatch(words, SHARD, after, expanded).replace("--after LOGS", f"--after {logs}")
    return _with_folder(wish, f"job=$({array})\njob=${{job%%;*}}\nlast=$({last})\necho $job $last")


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

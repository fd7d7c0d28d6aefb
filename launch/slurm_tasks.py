"""`blvnet-launch slurm tasks`: how the tasks of an array ended, in one table, from the logs of launch/shard.sbatch."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from sharding.arguments import Arguments, at_least_1

_BEGINS = re.compile(r"\S+ task \d+ begins, try (\d+), on (\S+)")
_ENDS = re.compile(r"\S+ task \d+ ends with status (\d+)")
_CANCELLED = re.compile(r"slurmstepd\S*: error: .* CANCELLED AT \S+(?: DUE TO ([A-Z ]+))?[, ].*")
_MEMORY = re.compile(r"slurmstepd\S*: error: .*oom.kill.*", re.IGNORECASE)
_WHY = {"": "cancelled", "TIME LIMIT": "time limit", "NODE FAILURE": "node lost", "PREEMPTION": "preempted"}
_WIDEST = 100
_BEGUN = "running, or cut off"
_STATES = {0: "done", 2: "a mistake", 130: "stopped"}


@dataclass(frozen=True)
class Task:
    """How a task stands. `tries` that have begun, the last one on `node`; `said`: its last word before the end."""

    number: int
    state: str
    tries: int = 0
    node: str = "-"
    said: str = ""


def add(jobs: "argparse._SubParsersAction[Arguments]") -> None:
    """The command's options."""
    tasks = jobs.add_parser(
        "tasks",
        help="how the tasks of a sharding stand",
        description="Print the tasks of a sharding that are not done, from their logs, with what they said last. The "
        "exit status is 1 where there are any.",
    )
    tasks.add_argument("logs", metavar="LOGS", help="the logs' common beginning: DIR/blvnet-shard-JOB")
    tasks.add_argument("tasks", metavar="N", type=at_least_1, help="tasks in all")
    tasks.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    tasks = [look(Path(f"{args.logs}_{number}.log"), number) for number in range(args.tasks)]
    print("\n".join(table(tasks)), flush=True)
    return int(any(task.state != "done" for task in tasks))


def look(log: Path, number: int) -> Task:
    """How the task of this number stands by its log."""
    if not log.exists():
        return Task(number, "not begun")
    state, tries, node, said, error, why = "not begun", 0, "-", "", "", ""
    with log.open(errors="replace") as lines:
        for line in map(str.strip, lines):
            if found := _BEGINS.fullmatch(line):
                state, tries, node, said, error, why = _BEGUN, int(found[1]), found[2], "", "", ""
            elif found := _CANCELLED.search(line):
                why = why or _WHY.get((found[1] or "").strip(), "")
            elif _MEMORY.search(line):
                why = "out of memory"
            elif found := _ENDS.fullmatch(line):
                status = int(found[1])
                state = _STATES.get(status, f"failed ({status})")
            elif line and state == _BEGUN:
                said = line
                error = line if line.startswith("error:") else error
    if why and state != "done":
        state = why
    return Task(number, state, tries, node, error or said)


def table(tasks: list[Task]) -> list[str]:
    """The tasks that are not done, and what to do about them."""
    bad = [task for task in tasks if task.state != "done"]
    lines = []
    if bad:
        rows = [("task", "state", "tries", "node", "said last")]
        rows += [(str(t.number), t.state, str(t.tries), t.node, t.said[:_WIDEST]) for t in bad]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]
            ).rstrip()
            for row in rows
        ]
    lines.append(f"{len(tasks) - len(bad)} of {len(tasks)} tasks are done")
    if bad:
        lines.append(
            "no manifests are written before all are; submit the same command again: finished shards are kept"
        )
    return lines

"""The ranks of a run over small data, whose loader is a side: they write down the ids that each step gets.

    python -m benchmarks.resume_sides.rank SIDE FOLDER SAMPLES

It makes the data in FOLDER, and then runs what it is told on its standard input. A rank is a training loop as the
loaders' documentation has them: epochs, steps, a state that is kept on the way.
"""

import importlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SEED = 7
WENT_ON = 2
"""Steps that a run makes after its state was kept, before it is killed: what they used has to come again."""


@dataclass(frozen=True)
class Task:
    """A rank's: `batch` samples a step, until `epochs` are over.

    `keep`: (epoch, steps done in it) at which its state is kept, after which it goes on and waits to be killed.
    `kept`: the folder of all ranks' states, from which it goes on.
    """

    data: str
    out: str
    rank: int
    ranks: int
    workers: int
    batch: int
    samples: int
    epochs: int
    rendezvous: str
    keep: tuple[int, int] | None = None
    kept: str | None = None

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.samples // (self.batch * self.ranks)


class Side(Protocol):
    """A rank's loader, over the whole run."""

    def __init__(self, task: Task) -> None: ...

    def load(self, states: list[Any]) -> None:
        """Go on from the states that all ranks kept, in the order of ranks."""
        ...

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """The ids of each step of an epoch; `done`: its steps that the run had made when it was loaded."""
        ...

    def state(self) -> Any:
        """What is kept; anything that can be pickled."""
        ...


def train(side: Side, task: Task) -> None:
    """All epochs, or those from the kept state on."""
    first, done = 0, 0
    if task.kept is not None:
        states = [pickle.loads(path.read_bytes()) for path in sorted(Path(task.kept).glob("*.state"))]
        first, done = states[0]["epoch"], states[0]["done"]
        side.load([state["loader"] for state in states])
    with (Path(task.out) / f"{task.rank}.jsonl").open("w", buffering=1) as out:
        for epoch in range(first, task.epochs):
            step = done if epoch == first else 0
            for ids in side.epoch(epoch, step):
                step += 1
                print(json.dumps([epoch, step, ids]), file=out)
                at = (epoch, step)
                _keep(side, task, at)
                if task.keep is not None and _steps(at, task) >= _steps(task.keep, task) + WENT_ON:
                    (Path(task.out) / f"{task.rank}.ready").touch()
                    signal.pause()
            _keep(side, task, (epoch + 1, 0))
    (Path(task.out) / f"{task.rank}.done").touch()


def _steps(at: tuple[int, int], task: Task) -> int:
    return at[0] * task.steps + at[1]


def _keep(side: Side, task: Task, at: tuple[int, int]) -> None:
    if at == task.keep:
        kept = {"epoch": at[0], "done": at[1], "loader": side.state()}
        (Path(task.out) / f"{task.rank}.state").write_bytes(pickle.dumps(kept))


def join(task: Task) -> None:
    """The group of ranks, as a training has it and as most loaders ask it for rank and size."""
    import torch.distributed

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{task.rendezvous}", rank=task.rank, world_size=task.ranks
    )


def one(side: Any, task: Task) -> None:
    """The process of a rank, to its end."""
    os.environ |= {"RANK": str(task.rank), "LOCAL_RANK": str(task.rank)}
    try:
        train(side(task), task)
    except Exception as error:
        said = {"kind": type(error).__name__, "text": str(error)}
        (Path(task.out) / f"{task.rank}.error").write_text(json.dumps(said))
        raise


def run(side: Any, files: list[str], log: Path) -> None:
    """All ranks, in a session of their own; ends with status 1 as soon as one of them fails."""
    os.setsid()
    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    tasks = [json.loads(Path(file).read_text()) for file in files]
    os.environ |= {"WORLD_SIZE": str(len(tasks)), "LOCAL_WORLD_SIZE": str(len(tasks))}
    for values in tasks:
        values["keep"] = None if values["keep"] is None else tuple(values["keep"])
        if not os.fork():
            one(side, Task(**values))
            return
    for _ in tasks:
        _, status = os.wait()
        if status:
            sys.exit(1)


def main() -> None:
    """The command line.

    What a side imports takes most of its time, and is the same for all runs: each is a fork of this process, which has
    imported it and nothing else has happened in it. It is told the files of a run's tasks, and tells the process that
    leads the run, and when that has ended, with which status.
    """
    name, folder, samples = sys.argv[1:]
    tells = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what loaders print is not an answer
    module = importlib.import_module(f"benchmarks.resume_sides.{name}")
    if not os.fork():
        module.make(Path(folder), int(samples))
        return
    _, status = os.wait()
    if status:
        sys.exit("the data could not be made")
    for line in sys.stdin:
        files = json.loads(line)
        leader = os.fork()
        if not leader:
            run(module.Loader, files, Path(files[0]).parent / "log")
            return
        print(leader, file=tells, flush=True)
        _, status = os.waitpid(leader, 0)
        print(status, file=tells, flush=True)


if __name__ == "__main__":
    main()

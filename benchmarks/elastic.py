"""How long a run stands still when one of its two hosts is lost, and when it comes back.

    python -m benchmarks.elastic [--rounds 5] > benchmarks/results/elastic.md

The hosts are network namespaces of this machine, with the commands that `blvnet-launch torchrun --min-hosts 1` prints.
The second host is killed with all its processes, whose connections its kernel then closes, or its cable is pulled, and
nothing is said. Seconds are taken from what the first host's log and processes show, every 50 ms.
"""

import argparse
import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from benchmarks.machine import cpu
from tests.cluster.agents import Agents, agents_on
from tests.cluster.hosts import HOSTS, usable
from tests.processes import alive

FIRST, SECOND = HOSTS[:2]
SETTINGS = [
    "optim.global_batch=6",
    "optim.epochs=100000",
    "run.evaluate_epochs=100000",
    "run.checkpoint_minutes=1",
]
SETTINGS += ["data.workers=1", "data.window=8"]
STEPS, AIM_S, PATIENCE_S, _LOOK_S = 8, 15.0, 300.0, 0.05
"""Steps that are trained between two events; what the median from a loss to the next step should be at most."""


KILLED, CUT = "the second host is killed", "its cable is pulled"
FIXED = "without `--min-hosts`, its cable is pulled until that is noticed"
STARTED, JOINED = "its command is started again", "its cable is plugged in again"


@dataclass(frozen=True)
class Pause:
    """Seconds from an event until the first host's rank has ended, is another one, has begun, and trained a step."""

    ended: float
    met: float
    begun: float
    step: float

    @property
    def parts(self) -> list[float]:
        """What each took by itself."""
        ends = [self.ended, self.met, self.begun, self.step]
        return [end - before for end, before in zip(ends, [0.0, *ends], strict=False)]


class Log:
    """What a host's log has said since it was opened here."""

    def __init__(self, path: Path) -> None:
        self._path, self._from = path, path.stat().st_size if path.exists() else 0

    def count(self, beginning: str, behind: str = "") -> int:
        """Lines that begin so, behind the first one that begins like `behind`."""
        with self._path.open() as file:
            file.seek(self._from)
            lines = iter(file)
            if behind:
                next((line for line in lines if line.startswith(behind)), None)
            return sum(line.startswith(beginning) for line in lines)


def until(condition: Callable[[], object], agents: Agents) -> float:
    """The moment at which `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(agents.says())
        time.sleep(_LOOK_S)
    return time.monotonic()


def pause(agents: Agents, event: Callable[[], None], then: Callable[[], None] = lambda: None) -> Pause:
    """What `event` does to a run that trains; `then` is done as soon as the first host's rank has ended."""
    log = Log(agents.log(FIRST))
    until(lambda: log.count("step ") >= STEPS, agents)
    before, log = agents.ranks(FIRST), Log(agents.log(FIRST))
    at = time.monotonic()
    event()
    times = [until(lambda: not any(map(alive, before)), agents) - at]
    then()
    times.append(until(lambda: set(agents.ranks(FIRST)) - set(before), agents) - at)
    times += [
        until(partial(log.count, *words), agents) - at for words in (["  ranks "], ["step ", "  ranks "])
    ]
    return Pause(*times)


@contextlib.contextmanager
def trained(options: str) -> Iterator[Agents]:
    """A training on both hosts."""
    with (
        tempfile.TemporaryDirectory(prefix="elastic-benchmark.") as folder,
        agents_on([FIRST, SECOND], Path(folder), options, *SETTINGS) as agents,
    ):
        agents.start(FIRST)
        agents.start(SECOND)
        yield agents


def rounds(count: int) -> Iterator[tuple[str, Pause]]:
    """What happens, and the pause, in turns."""
    with trained("--min-hosts 1") as agents:
        for _ in range(count):
            yield KILLED, pause(agents, lambda: agents.lose(SECOND))
            yield STARTED, pause(agents, lambda: agents.start(SECOND))
            yield CUT, pause(agents, lambda: agents.network.cable(SECOND, "down"))
            yield JOINED, pause(agents, lambda: agents.network.cable(SECOND, "up"))
    with trained("") as agents:
        down, up = (lambda state=state: agents.network.cable(SECOND, state) for state in ("down", "up"))
        yield FIXED, pause(agents, down, up)


def row(event: str, pauses: list[Pause]) -> str:
    """A line of the table: medians, and the whole from the lowest to the highest."""
    whole = sorted(one.step for one in pauses)
    parts = [statistics.median(times) for times in zip(*(one.parts for one in pauses), strict=True)]
    cells = [
        f"{statistics.median(whole):.1f}, {whole[0]:.1f} to {whole[-1]:.1f}",
        *(f"{s:.1f}" for s in parts),
    ]
    return f"| {event} | {' | '.join(cells)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elastic")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    assert usable(), "root, iproute2 and util-linux are needed"
    load, found = os.getloadavg()[0], dict[str, list[Pause]]()
    for event, one in rounds(args.rounds):
        found.setdefault(event, []).append(one)
        print(f"{event}: {one}", file=sys.stderr, flush=True)
    after = os.getloadavg()[0]
    print(
        f"""# Hosts that come and go: how long a run stands still

{date.today()}, {os.cpu_count()}-core {cpu()} virtual machine without a GPU, Python {platform.python_version()};
`python -m benchmarks.elastic --rounds {args.rounds}`. Load average before, after: {load:.1f}, {after:.1f}.

Two hosts (network namespaces of this machine) with a rank and a loader process each. Seconds until the next step, and
of what they consist; medians of {args.rounds}.

| what happens | next step after, lowest to highest | rank has ended | hosts have met | rank is back | first step |
|---|---|---|---|---|---|"""
    )
    for event, pauses in found.items():
        print(row(event, pauses))
    losses = [one.step for event in (KILLED, CUT) for one in found[event]]
    print(f"\nAim: at most {AIM_S:.0f} s in the median after a loss: {statistics.median(losses):.1f} s.")


if __name__ == "__main__":
    main()

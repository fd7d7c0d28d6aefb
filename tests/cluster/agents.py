"""A training on several hosts, by the commands that `blvnet-launch torchrun` prints for them."""

import contextlib
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from launch import cli
from pipeline.run import journal
from tests import commands, shards
from tests.cluster.hosts import Network, network_of
from tests.processes import ROOT, descendants, environment, kill_tree


@dataclass
class Agents:
    """The hosts' launchers: each is started, and killed with all that it started, as often as is wanted."""

    network: Network
    commands: dict[str, list[str]]
    folder: Path
    run: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, host: str, environment_of: dict[str, str] | None = None) -> None:
        with self.log(host).open("ab") as output:
            self.processes[host] = subprocess.Popen(
                self.network.command(host, self.commands[host]),
                cwd=ROOT,
                env=environment(environment_of),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def lose(self, host: str) -> None:
        """SIGKILL to everything there."""
        kill_tree(self.processes.pop(host))

    def signal(self, host: str, number: signal.Signals) -> None:
        """To the launcher alone."""
        os.kill(self.processes[host].pid, number)

    def ranks(self, host: str) -> list[int]:
        """The training processes of a host that run."""
        return [pid for pid in descendants(self.processes[host].pid) if _is_rank(pid)]

    def log(self, host: str) -> Path:
        return self.folder / f"{host}.log"

    def says(self) -> str:
        """All hosts' output."""
        return "".join(
            f"--- {path.stem}\n{path.read_text()}" for path in sorted(self.folder.glob("blvh*.log"))
        )

    def losses(self) -> dict[int, float]:
        """By the number of the step, of those that count."""
        lines = journal.read(str(self.run / "metrics.jsonl"))
        return {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}

    def starts(self) -> int:
        """How often training has begun."""
        return len(list((self.run / "starts").glob("*")))


def hurried(folder: Path, times: int) -> dict[str, str]:
    """An environment whose Python programs take a second for so many, by the clock that they wait by."""
    lines = ["import time", "real, since = time.monotonic, time.monotonic()"]
    lines += [f"time.monotonic = lambda: since + {times} * (real() - since)"]
    (folder / "hurried").mkdir(exist_ok=True)
    (folder / "hurried" / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return {"PYTHONPATH": f"{folder}/hurried:{ROOT}"}


def _is_rank(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"pipeline.train" in words and b"pipeline.agent" not in words


def printed(hosts: list[str], words: list[str]) -> dict[str, list[str]]:
    """The command of each host."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert cli.main(["torchrun", "--hosts", ",".join(hosts), "--nproc", "1", *words]) == 0
    found = commands.commands(told.getvalue())
    return {host: [sys.executable, *command[1:]] for host, command in zip(hosts, found, strict=True)}


@contextlib.contextmanager
def agents_on(hosts: list[str], folder: Path, options: str, *settings: str) -> Iterator[Agents]:
    """Hosts that a small training can be started on, of 32 samples; `options` of the command, changed `settings`."""
    shards.make(folder / "shards", [20, 12])
    shards.make(folder / "shards", [4], split="validation")
    run = folder / "run"
    words = [*shlex.split(options), "--config", "configs/demo.yaml", f"data.root={folder}/shards"]
    words += [
        "data.size=32",
        "data.short_side=32",
        "data.workers=0",
        "model.num_frames=4",
        "run.precision=fp32",
    ]
    words += [f"run.folder={run}", "run.log_steps=1", "run.audit=true", *settings]
    with network_of(hosts, folder) as network:
        agents = Agents(network, printed(hosts, words), folder, run)
        try:
            yield agents
        finally:
            for process in agents.processes.values():
                kill_tree(process)

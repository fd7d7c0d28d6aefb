"""Runs that are killed or told to stop at random moments from their first instant on: what is left, and what is lost.

    python -m benchmarks.endings --rounds 20 --out benchmarks/results/endings.md

Two ranks train on the CPU in fp32. In each round the same run is started again and, at a random moment, its launcher
is killed (SIGKILL), the terminal sends SIGINT or SIGHUP to all, or the launcher gets SIGTERM. At the end the run goes
to its last step, and is held against one that was left alone.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch

from pipeline.ranks.signals import STATUS
from pipeline.run import checkpoint, proof
from sharding.errors import UserError
from tests import shards
from tests.distributed.test_agent import with_agent
from tests.distributed.test_training import losses, training, weights
from tests.jobs import started
from tests.processes import run, wait_for

KINDS = ("SIGKILL", "SIGINT", "SIGHUP", "SIGTERM")
EPOCHS = 40
LATEST_S = 30.0
"""A round's moment lies between the start of the process and this."""


@dataclass
class Tally:
    """What came of the rounds of one kind."""

    rounds: int = 0
    left: int = 0
    "Rounds after which a process was left."
    lost: int = 0
    "Rounds after which a step was missing that had been saved."
    wrong: int = 0
    "Rounds with another status than they should have."
    before_a_step: int = 0
    ended_s: list[float] = field(default_factory=list)


def saved(folder: Path) -> int:
    """The steps in the newest checkpoint."""
    if not (folder / "checkpoints" / "latest.json").exists():
        return 0
    try:
        return int(checkpoint.load(str(folder))["position"]["done"])
    except UserError:
        return 0


def last_written(folder: Path) -> int:
    """When a line of metrics was written or taken out, in nanoseconds."""
    metrics = folder / "metrics.jsonl"
    return metrics.stat().st_mtime_ns if metrics.exists() else 0


def one_round(kind: str, command: list[str], folder: Path, log: Path, moment_s: float, tally: Tally) -> None:
    """Start, wait, strike, look."""
    before, steps, written = saved(folder), len(losses(folder)), last_written(folder)
    with started(command, log) as job:
        time.sleep(moment_s)
        if job.process.poll() is not None:
            raise SystemExit(f"the run ended by itself; raise EPOCHS:\n{job.says()}")
        tally.rounds += 1
        tally.before_a_step += len(losses(folder)) <= steps
        struck, number = time.monotonic(), signal.Signals[kind]
        if kind in ("SIGINT", "SIGHUP"):
            os.killpg(job.process.pid, number)
        else:
            job.process.send_signal(number)
        status = job.process.wait(timeout=120)
        try:
            wait_for(lambda: not job.left(), 20)
        except AssertionError:
            tally.left += 1
        tally.ended_s.append(time.monotonic() - struck)
        expected = -signal.SIGKILL if kind == "SIGKILL" else STATUS
        if status != expected:
            tally.wrong += 1
            print(f"{kind} after {moment_s:.1f} s: status {status}\n{job.says()}", flush=True)
    after = saved(folder)
    # Lines of an earlier start that was killed are no steps of this one, unless it has begun and taken them out.
    done = 0 if kind == "SIGKILL" or last_written(folder) == written else len(losses(folder))
    tally.lost += after < max(before, done)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Rounds of killing and stopping a run.")
    parser.add_argument("--rounds", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="Markdown file to write")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        shards.make(home, [20, 16, 14])
        shards.make(home, [7, 4], split="validation")
        settings = (f"optim.epochs={EPOCHS}", "run.evaluate_epochs=3", "run.checkpoint_steps=4")
        alone = home / "alone"
        run(with_agent(training(2, str(home), alone, *settings)), seconds=3600)
        folder = home / "struck"
        command = with_agent(training(2, str(home), folder, *settings))
        tallies = {kind: Tally() for kind in KINDS}
        kinds = [kind for kind in KINDS for _ in range(args.rounds)]
        moments.shuffle(kinds)
        for number, kind in enumerate(kinds, 1):
            if saved(folder) > (EPOCHS - 12) * 6:  # near its end: the next rounds begin anew
                folder = home / f"struck-{number}"
                command = with_agent(training(2, str(home), folder, *settings))
            one_round(kind, command, folder, home / "log", moments.uniform(0, LATEST_S), tallies[kind])
            print(f"{number} of {len(kinds)}: {kind}, {saved(folder)} steps saved", flush=True)
        run(command, seconds=3600)
        expected = weights(alone)
        same = losses(folder) == losses(alone) and all(
            torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items()
        )
        proven = not proof.prove(str(folder)).findings
    lines = report(tallies, same, proven)
    print("\n".join(lines))
    if args.out:
        Path(args.out).write_text("\n".join(lines) + "\n")


def report(tallies: dict[str, Tally], same: bool, proven: bool) -> list[str]:
    """The results as Markdown."""
    rows = [
        f"| {kind} | {t.rounds} | {t.before_a_step} | {t.left} | {t.lost} | {t.wrong} | "
        f"{sorted(t.ended_s)[len(t.ended_s) // 2]:.1f} and {max(t.ended_s):.1f} |"
        for kind, t in tallies.items()
    ]
    return [
        "# Runs that are killed or told to stop at random moments",
        "",
        f"{date.today()}, {os.cpu_count()} cores, no GPU, torch {torch.__version__}; `python -m benchmarks.endings`.",
        "",
        "Two ranks under `pipeline.agent`, each with a loader process. A round's moment lies between 0 and "
        f"{LATEST_S:.0f} s after the start of the launcher: imports, the meeting of the ranks, loading, steps, "
        "evaluations, checkpoints. SIGINT and SIGHUP go to the whole process group, as a terminal sends them.",
        "",
        "| signal | rounds | before this start's first step | a process left | a saved step lost | wrong status | "
        "seconds to the end, median and most |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"The run that was struck went on to its end: losses and weights are {'' if same else 'NOT '}those of the run "
        f"that was left alone, bit for bit; its audit is {'proven' if proven else 'REFUTED'}.",
    ]


if __name__ == "__main__":
    main()

"""`blvnet-launch preflight`: in a minute, which nodes of an allocation would spoil a training, and why."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launch import options, over_ssh, steps
from sharding.arguments import Arguments, at_least_1
from sharding.errors import UserError

if TYPE_CHECKING:
    from pipeline.checking.report import Report
    from pipeline.checking.verdict import Row
    from pipeline.config import Config

FAILING = "failing-nodes.txt"
ALONE_S, TOGETHER_S = 35.0, 25.0
"""For the nodes by themselves, and for one round of exchanges: what has not answered by then does not."""
_THIS_ONE = [""]
_PROGRAM = ["python", "-m", "pipeline.preflight"]
_RATE = re.compile(r"([\d.]+) MB/s")


def add(commands: "argparse._SubParsersAction[Arguments]") -> None:
    """The command's options."""
    preflight = commands.add_parser(
        "preflight",
        help="look at the nodes before a training",
        description="Look at each node of this SLURM allocation (or of --hosts, or at this machine) by itself, then at "
        f"an exchange between all, and print one table. Nodes that fail are written to {FAILING}.",
    )
    preflight.add_argument(
        "--hosts",
        type=options.hosts,
        metavar="HOST,HOST",
        help="these, by ssh without a password: names by which they reach each other",
    )
    preflight.add_argument(
        "--nproc",
        type=at_least_1,
        metavar="N",
        help="training processes of each node (default: as many as each has GPUs, or 1)",
    )
    options.add_config(preflight)
    preflight.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 where a node fails."""
    from pipeline import config as configuration
    from pipeline.checking import verdict

    config = configuration.load(args.config, args.overrides)
    nodes = args.hosts or steps.allocation()
    start = over_ssh.run if args.hosts else steps.run
    rows = look(config, [args.config, *args.overrides], args.nproc or _told_processes(), nodes, start)
    print("\n".join(verdict.table(rows)))
    if nodes != _THIS_ONE:
        _tell_failing(verdict.failing(rows), nodes, args.hosts)
    return int(any(row.level == "fail" for row in rows))


def look(
    config: "Config", words: list[str], processes: int | None, nodes: list[str], start: steps.Run
) -> "list[Row]":
    """The rows of the table, from what the commands that `start` runs say on the `nodes`.

    `processes` of each node; None: each finds out itself.
    """
    from pipeline.checking import halves, verdict

    sizes = [f"--nodes={len(nodes)}", *([f"--processes={processes}"] if processes else [])]
    (step,) = start([(nodes, [*_PROGRAM, "node", *sizes, "--config", *words])], ALONE_S)
    reports, skews = _reports(step.lines)
    if nodes == _THIS_ONE:  # which has a name now
        nodes = [report.node for report in reports] or ["this machine"]
    rows = verdict.judge(reports, nodes, options.cores(config, 1), skews)
    addresses = {report.node: report.address for report in reports}
    rates: list[float] = []
    rounds = 0

    def attempt(groups: halves.Groups) -> list[bool]:
        nonlocal rounds
        rounds += 1
        commands = [
            (group, [*_PROGRAM, "exchange", f"--first={addresses[group[0]]}:{_port(rounds)}"])
            for group in (sorted(one, key=nodes.index) for one in groups)
        ]
        done = start(commands, TOGETHER_S)
        if rounds == 1:
            rates.extend(float(found[1]) for line in done[0].lines if (found := _RATE.fullmatch(line.text)))
        return [step.status == 0 for step in done]

    meet = [node for node in nodes if node in addresses]
    found = halves.search(meet, attempt)
    return [*rows, verdict.exchange(found, len(meet) or 1, min(rates, default=None))]


def _tell_failing(bad: list[str], nodes: list[str], hosts: list[str] | None) -> None:
    """Write them down; those of before are not true any more."""
    path = Path(FAILING)
    try:
        path.unlink(missing_ok=True)
        if bad:
            path.write_text("".join(f"{node}\n" for node in bad))
    except OSError as error:
        raise UserError(
            f"{path.absolute()}: {error.strerror}; start this in a folder that can be written"
        ) from None
    if bad:
        print(f"{len(bad)} of {len(nodes)} nodes fail; without them: {_without(bad, hosts)}")


def _without(bad: list[str], hosts: list[str] | None) -> str:
    """How to start on the others."""
    if hosts is None:
        return f"sbatch --exclude=./{FAILING} ..."
    return f"--hosts {','.join(host for host in hosts if host not in bad) or '(none is left)'}"


def _port(rounds: int) -> int:
    """Another one in each round, and in each job: two may share a node."""
    return 20000 + (int(os.environ.get("SLURM_JOB_ID", os.getpid())) + rounds) % 10000


def _reports(lines: Sequence[steps.Line]) -> "tuple[list[Report], dict[str, float]]":
    """The reports among the lines, and how far each node's clock is ahead of this one's, in seconds."""
    from pipeline.checking.report import of_line

    found = [(report, line.at) for line in lines if (report := of_line(line.text))]
    return [report for report, _ in found], {report.node: report.clock - at for report, at in found}


def _told_processes() -> int | None:
    """As launch/train.sbatch is told; else each node counts its GPUs, which a login node has not."""
    return options.processes_of(None) if os.environ.get("PROCESSES") else None

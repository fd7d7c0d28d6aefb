"""What the nodes' reports come to: a table of what passes, what to look at, and what would fail. No torch."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median_high
from typing import Literal

from pipeline.checking.halves import Found
from pipeline.checking.report import Report

Level = Literal["pass", "warn", "fail"]
_LEVELS: tuple[Level, ...] = ("pass", "warn", "fail")
_SLOW, _LAME = 0.8, 0.5
"""Shares of the other nodes' decoding: below, all wait for this node; far below, something is broken."""
_SLOW_STORE = 1 / 3
_SKEW_S, _BAD_SKEW_S = 5.0, 300.0  # stores refuse requests that are 15 minutes off
_SLOW_EXCHANGE_MB_PER_S = 50.0


@dataclass(frozen=True)
class Row:
    """One check: on which `nodes` it did not pass, what was found, and what helps."""

    check: str
    level: Level
    found: str
    nodes: tuple[str, ...] = ()
    remedy: str = ""


Judged = tuple[Level, str]


def judge(
    reports: Sequence[Report], expected: Sequence[str], cores: int, skews: dict[str, float]
) -> list[Row]:
    """The checks of each node by itself. `expected`: the nodes that were asked; `cores`: what each process is to have.

    `skews`: how far each node's clock is ahead, in seconds.
    """
    silent = tuple(node for node in expected if node not in {report.node for report in reports})
    rows = [
        Row(
            "answers",
            "fail",
            "did not answer",
            silent,
            "look at the output above; is the environment there too?",
        )
        if silent
        else Row("answers", "pass", f"{len(reports)} nodes")
    ]
    if not reports:
        return rows
    usual = {
        name: Counter(report.versions[name] for report in reports).most_common(1)[0][0]
        for name in reports[0].versions
    }
    decoding = median_high(report.frames_per_s for report in reports)
    reading = median_high([r.store_mb_per_s for r in reports if r.store_mb_per_s is not None] or [0.0])

    def version(report: Report) -> Judged:
        other = [f"{name} {v}, not {usual[name]}" for name, v in report.versions.items() if v != usual[name]]
        return ("fail", "; ".join(other)) if other else ("pass", f"torch {usual['torch']}")

    def problem(name: str, well: str) -> Callable[[Report], Judged]:
        return lambda report: ("fail", report.problems[name]) if name in report.problems else ("pass", well)

    def device(report: Report) -> Judged:
        if "devices" in report.problems:
            return "fail", report.problems["devices"]
        return "pass", f"{len(report.devices)} x {', '.join(sorted(set(report.devices)))}"

    def core(report: Report) -> Judged:
        busy = report.processes * cores
        return "warn" if report.cores < busy else "pass", f"{report.cores} cores, {busy} are kept busy"

    def shared(report: Report) -> Judged:
        level: Level = "fail" if report.shared_free < report.shared_needed else "pass"
        return level, f"{report.shared_free / 1e9:.1f} GB free, {report.shared_needed / 1e9:.1f} GB needed"

    def disk(report: Report) -> Judged:
        if report.cache_free is None:
            return "pass", "no data.cache"
        level: Level = "warn" if report.cache_free < report.cache_needed else "pass"
        return (
            level,
            f"{report.cache_free / 1e9:.0f} GB free for data.cache_gb {report.cache_needed / 1e9:.0f}",
        )

    def clock(report: Report) -> Judged:
        skew = abs(skews[report.node])
        level: Level = "fail" if skew > _BAD_SKEW_S else "warn" if skew > _SKEW_S else "pass"
        return level, f"{round(skews[report.node]):+d} s"

    def decode(report: Report) -> Judged:
        share = report.frames_per_s / decoding
        level: Level = "fail" if share < _LAME else "warn" if share < _SLOW else "pass"
        return level, f"{report.frames_per_s:.0f} JPEGs/s a core, the median is {decoding:.0f}"

    def store(report: Report) -> Judged:
        if "store" in report.problems:
            return "fail", report.problems["store"]
        rate, needed = report.store_mb_per_s, report.needed_mb_per_s
        if rate is None or needed is None:
            return "fail", "no shards to read"
        level: Level = "fail" if rate < _SLOW_STORE * reading else "warn" if rate < needed else "pass"
        return level, f"{rate:.0f} MB/s, loaders take up to {needed:.0f}; the median is {reading:.0f}"

    checks: list[tuple[str, Callable[[Report], Judged], str]] = [
        ("versions", version, "install the same everywhere"),
        ("devices", device, "ask for as many GPUs as there are processes; is the driver as on the others?"),
        ("cores", core, "more --cpus, or lower data.workers"),
        ("shared memory", shared, "a larger /dev/shm, a smaller optim.global_batch, or data.workers=0"),
        ("disk", disk, "lower data.cache_gb, or make room"),
        ("clock", clock, "start the node's time service"),
        ("decoding", decode, "is another program on its cores, or are they clocked down? exclude it"),
        ("shards", problem("shards", "found"), "mount or reach data.root, and data.mix, from this node too"),
        ("store", store, "data.cache keeps shards on the node; a bucket of the same region; exclude it"),
        ("run folder", problem("run folder", "writable"), "make run.folder writable from this node too"),
    ]
    return rows + [
        _row(name, [(r.node, *check(r)) for r in reports], remedy) for name, check, remedy in checks
    ]


def exchange(found: Found, nodes: int, mb_per_s: float | None) -> Row:
    """The all-reduce between all nodes."""
    name, remedy = (
        "all-reduce",
        "a firewall, or the wrong network: set NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME",
    )
    if found.works:
        if mb_per_s is None:
            return Row(name, "pass", f"{nodes} node has nobody to exchange with")
        level: Level = "warn" if mb_per_s < _SLOW_EXCHANGE_MB_PER_S else "pass"
        return Row(name, level, f"right between {nodes} nodes, {mb_per_s:.0f} MB/s", (), remedy)
    if not found.bad:
        return Row(name, "fail", "parts of the nodes can, all together cannot", (), remedy)
    return Row(name, "fail", "exchanges nothing with the others", tuple(found.bad), remedy)


def failing(rows: Sequence[Row]) -> list[str]:
    """The nodes to leave out."""
    return list(dict.fromkeys(node for row in rows if row.level == "fail" for node in row.nodes))


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as aligned lines; under one that did not pass, what helps."""
    width = max(len(row.check) for row in rows)
    lines = []
    for row in rows:
        where = f"{', '.join(row.nodes)}: " if row.nodes else ""
        lines.append(f"{row.level}  {row.check:<{width}}  {where}{row.found}")
        if row.level != "pass" and row.remedy:
            lines.append(f"      {'':<{width}}  -> {row.remedy}")
    return lines


def _row(name: str, judged: list[tuple[str, Level, str]], remedy: str) -> Row:
    """The worst of all nodes' levels, and what the nodes at it say."""
    level = max((level for _, level, _ in judged), key=_LEVELS.index)
    worst = [(node, text) for node, its, text in judged if its == level]
    said = list(dict.fromkeys(text for _, text in worst))
    nodes = () if level == "pass" else tuple(node for node, _ in worst)
    return Row(name, level, said[0] if level == "pass" else "; ".join(said[:3]), nodes, remedy)

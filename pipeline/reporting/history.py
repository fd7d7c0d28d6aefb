"""The report's look at time and place: how far a run is and whether it lives, when it ran, for how long, on what."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import pairwise
from statistics import median

from pipeline.reporting import compared, curve, facts
from pipeline.reporting.facts import UNKNOWN
from pipeline.reporting.record import Record
from pipeline.run.journal import Line
from pipeline.run.owner import LEASE_S
from sharding.pages import units


def state(run: Record) -> str:
    """How far a run is, and whether it goes on."""
    epochs = run.config.optim.epochs
    if run.finished:
        return f"finished: {run.train[-1]['step']:,} steps, {epochs} epochs"
    if not run.train:
        return f"{_alive(run)}: no metrics yet"
    last = run.train[-1]
    return f"{_alive(run)}: step {last['step']:,}, in epoch {last['epoch'] + 1} of {epochs}"


def table(runs: Sequence[Record]) -> str:
    """When and where each run ran, how fast, and what was changed on the way."""
    found = [(name, [fact(run) for run in runs]) for name, fact in _FACTS.items()]
    title = "<h3>When and where<span>speeds are medians</span></h3>"
    parts = [f"<div>{title}", facts.table(runs, found)]
    changed = [f"<li>{escape(run.name)}, {escape(text)}</li>" for run in runs for text in _changes(run)]
    if changed:
        parts += ["<h3>Changed on the way</h3>", '<ul class="plain">', *changed, "</ul>"]
    return "\n".join([*parts, "</div>"])


def trained_s(run: Record) -> float:
    """Seconds from each start to its last line of metrics, together; NaN where no time is on record."""
    written = _written(run)
    if not written:
        return math.nan
    begun = [_seconds(start) for start in run.starts] or written[:1]
    total = 0.0
    for start, after in pairwise([*begun, math.inf]):
        total += max((time - start for time in written if start <= time < after), default=0.0)
    return total


def _alive(run: Record) -> str:
    if run.life is None:
        return "stopped"
    ago = units.duration(run.life.silent_s)
    if run.life.dead:
        return f"died, last sign of life {ago} ago"
    return "going on" if run.life.silent_s <= LEASE_S else f"no sign of life for {ago}"


def _began(run: Record) -> str:
    written = _written(run)[:1]
    return _time([_seconds(start) for start in run.starts[:1]] or written)


def _length(run: Record) -> str:
    seconds = trained_s(run)
    return UNKNOWN if math.isnan(seconds) else units.duration(seconds)


def _figure(run: Record, name: str, form: str, choose: Callable[[list[float]], float] = median) -> str:
    """One number for a figure of training, as the format `form` has it."""
    values = [line[name] for line in run.train if name in line]
    return form.format(choose(values)) if values else UNKNOWN


_FACTS: dict[str, Callable[[Record], str]] = {
    "began, UTC": _began,
    "last metrics, UTC": lambda run: _time(_written(run)[-1:]),
    "trained for": _length,
    "starts": lambda run: str(len(run.starts) or UNKNOWN),
    "clips a second": lambda run: _figure(run, "clips_per_s", "{:,.1f}"),
    "waiting for data": lambda run: _figure(run, "data_wait", "{:.1%} of the time"),
    "memory of a GPU, GB": lambda run: _figure(run, "gpu_memory_gb", "{:.1f}", max),
    "on": lambda run: _devices(run.starts[-1]) if run.starts else UNKNOWN,
    "program": lambda run: _program(run.starts[-1]) if run.starts else UNKNOWN,
}


def _changes(run: Record) -> list[str]:
    """What each later start changed: settings and devices."""
    found = []
    for before, now in pairwise(run.starts):
        texts = compared.changes(compared.flat(before["config"]), compared.flat(now["config"]))
        if _devices(before) != _devices(now):
            texts.append(f"on {_devices(before)}, now on {_devices(now)}")
        if texts:
            found.append(f"{curve.when(now['after_steps'], run.epoch_steps)}: {'; '.join(texts)}")
    return found


def _devices(start: Line) -> str:
    """`8 x NVIDIA H100 on 1 host`."""
    counts = Counter(rank["device"] for rank in start["ranks"])
    hosts = len({rank["host"] for rank in start["ranks"]})
    devices = ", ".join(f"{count} x {name}" for name, count in counts.items())
    return f"{devices} on {hosts} host{'s' if hosts > 1 else ''}"


def _program(start: Line) -> str:
    """Versions: this program's, with its commit where it ran from a checkout, and torch's."""
    commit = f" ({start['commit']})" if start["commit"] else ""
    return f"{start['version']}{commit}, torch {start['torch']}"


def _written(run: Record) -> list[float]:
    """When the lines of metrics were written, the first one first; earlier programs did not say."""
    return sorted(line["time"] for line in [*run.train, *run.validation] if "time" in line)


def _seconds(start: Line) -> float:
    return datetime.fromisoformat(start["time"]).timestamp()


def _time(some: Sequence[float]) -> str:
    """The only one of `some` times, if there is one."""
    return f"{datetime.fromtimestamp(some[0], timezone.utc):%Y-%m-%d %H:%M}" if some else UNKNOWN

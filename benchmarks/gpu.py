"""The first minutes on a GPU: what is to be known of it, the most important first, in one command.

    python -m benchmarks.gpu --minutes 8 --out DIR [--device cpu]

Runs the GPU tests; training steps (forms of TAM, eager and compiled, bf16 and fp16, batch sizes, clip lengths, depths,
TSM, TSN and ResNet-50 beside them); JPEG decoding on the device beside a core's; and shards to trained steps by number
of loader processes. Each group of rows is a process with a limit of time: one that fails or is cut off leaves a row
that says so. After each row DIR/rows.jsonl and DIR/report.md are as complete as they can be, so that a machine that is
taken away leaves a table; nothing else is kept. Nothing is downloaded; the first row names the packages that are worth
bringing. `--device cpu` tries all of it with tiny sizes where there is no GPU; those figures mean nothing.
"""

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Group(NamedTuple):
    """Rows that one process makes: their title, the seconds that it may take in 8 minutes, and its arguments."""

    title: str
    seconds: float
    arguments: list[str]


def _step(seconds: float, network: str, precision: str, form: str, how: str, *batches: int) -> Group:
    return Group("training steps", seconds, ["step", network, precision, form, how, *map(str, batches)])


def groups(cores: int) -> list[Group]:
    """All rows, the most important first, for a machine with so many cores."""
    ours = "blvnet-50-f8x2"
    workers = [str(count) for count in (12, 24, 6, 3, 1) if count <= max(cores, 1)]
    return [
        Group("machine", 40, ["environment"]),
        _step(75, ours, "bf16", "kernel", "eager", 32, 64, 8, 128),
        _step(30, ours, "bf16", "convolution", "eager", 32),
        _step(30, ours, "bf16", "sum", "eager", 32),
        _step(110, ours, "bf16", "kernel", "compiled", 32),
        Group("from shards to trained steps", 120, ["stream", *workers]),
        Group("GPU tests", 110, ["tests"]),
        Group("JPEG decoding", 45, ["decode"]),
        _step(40, "tsm-50-8f", "bf16", "-", "eager", 64),
        _step(30, "resnet-50", "bf16", "-", "eager", 256),
        _step(60, ours, "bf16", "compiled", "eager", 32),
        _step(30, ours, "fp16", "kernel", "eager", 32),
        _step(120, "blvnet-50-f32x2", "bf16", "kernel", "eager", 8, 16),
        _step(40, "blvnet-101-f8x2", "bf16", "kernel", "eager", 32),
        _step(90, ours, "bf16", "sum", "compiled", 32),
        _step(40, "blvnet-50-f16x2", "bf16", "kernel", "eager", 16, 32),
        _step(120, "blvnet-101-f32x2", "bf16", "kernel", "eager", 8),
        _step(40, "tsm-50-16f", "bf16", "-", "eager", 32),
        _step(40, "tsn-50-8f", "bf16", "-", "eager", 64),
        _step(90, ours, "bf16", "convolution", "compiled", 32),
        _step(40, "tsn-50-16f", "bf16", "-", "eager", 32),
    ]


def tiny(chosen: list[Group]) -> list[Group]:
    """The same on a laptop: small, and each kind of network once, since forms and precisions are a GPU's."""
    small: dict[str, Group] = {}
    for group in chosen:
        kind, *arguments = group.arguments
        key = kind
        if kind == "step":
            key = arguments[0].partition("-")[0]
            network = {
                "blvnet": "blvnet-26-f1x2",
                "tsm": "tsm-50-2f",
                "tsn": "tsn-50-2f",
                "resnet": "resnet-50",
            }[key]
            arguments = [network, "fp32", *arguments[2:4], "2", "3"]
        if kind == "stream":
            arguments = ["0"]
        small.setdefault(key, Group(group.title, group.seconds, [kind, *arguments]))
    return list(small.values())


class Table:
    """The rows so far, in two files: as they came, and as a page, where what was said last of each name stands."""

    def __init__(self, folder: Path, command: str) -> None:
        self._folder, self._command = folder, command
        self._rows: dict[str, dict[str, Row]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows.jsonl").write_text("")

    def add(self, title: str, row: Row) -> None:
        """Write it down at once."""
        with (self._folder / "rows.jsonl").open("a") as file:
            file.write(json.dumps({"group": title, **row}) + "\n")
        rows = self._rows.setdefault(title, {})
        rows[row["row"]] = {**rows.get(row["row"], {}), **row}
        page = self._folder / "report.md.new"
        page.write_text(self.page())
        page.replace(self._folder / "report.md")
        values = ", ".join(f"{name} {value}" for name, value in row.items() if name != "row")
        print(f"{title}: {row['row']}: {values}", flush=True)

    def page(self) -> str:
        """A table a group."""
        text = [f"# First minutes on a GPU\n\n{date.today()}; `{self._command}`\n"]
        for title, rows in self._rows.items():
            columns = list(dict.fromkeys(name for row in rows.values() for name in row if name != "row"))
            text.append(f"## {title}\n")
            text.append("| | " + " | ".join(name.replace("_", " ") for name in columns) + " |")
            text.append("|---" * (1 + len(columns)) + "|")
            for row in rows.values():
                cells = " | ".join(str(row.get(name, "")).replace("|", "/") for name in columns)
                text.append(f"| {row['row']} | {cells} |")
            text.append("")
        return "\n".join(text)


def rows_of(group: Group, options: list[str], limit_s: float) -> Iterator[Row]:
    """What the group's process says within `limit_s` seconds; a last row where it was cut off or failed."""
    command = [sys.executable, "-m", "benchmarks.gpu_rows", *group.arguments, *options]
    deadline = time.monotonic() + limit_s
    label = " ".join(group.arguments)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        try:
            while (line := lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                if row := _row_in(line):
                    yield row
            if process.wait() != 0:
                errors.seek(0)
                said = errors.read().strip().splitlines() or ["nothing"]
                yield {"row": label, "failed": f"status {process.returncode}: {said[-1][:200]}"}
        except queue.Empty:
            yield {"row": label, "failed": f"cut off after {limit_s:.0f} s"}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own processes too
            process.wait()
            # Whoever has left the process's session may hold its output open still: that is nobody to wait for.
            reader.join(timeout=1)


def _row_in(line: str) -> Row | None:
    """The row in a line of a process; what libraries print is none."""
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict) and "row" in found:
            return found
    return None


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def measure(chosen: list[Group], options: list[str], minutes: float, table: Table) -> None:
    """All groups in their order, as far as the time goes."""
    end = time.monotonic() + 60 * minutes
    for group in chosen:
        left = end - time.monotonic()
        if left < 3:
            table.add(group.title, {"row": " ".join(group.arguments), "failed": "no time was left"})
            continue
        limit = min(group.seconds * max(1.0, minutes / 8), left)
        for row in rows_of(group, options, limit):
            table.add(group.title, row)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    args = parser.parse_args()
    chosen = groups(len(os.sched_getaffinity(0)))
    table = Table(args.out, f"python -m benchmarks.gpu --minutes {args.minutes:g} --device {args.device}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no process, no folder is left
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark.") as work:  # shards and runs
        options = ["--device", args.device, "--work", work]
        if args.device == "cpu":
            chosen = tiny(chosen)
            options += ["--size", "64", "--seconds", "0.1"]
        measure(chosen, options, args.minutes, table)


if __name__ == "__main__":
    main()

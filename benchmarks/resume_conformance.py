"""Which loaders lose, repeat or reorder samples when a run is killed and goes on.

    python -m benchmarks.resume_conformance FOLDER > benchmarks/results/resume_conformance.md

Each loader reads the same ids in its own format, as ranks that are processes with loader processes of their own. After
a step its state is kept as its documentation says, it goes on for two steps, and everything is killed with SIGKILL. A
new run goes on from the state, as it was or on other ranks and workers. What it takes is compared with an undisturbed
run. FOLDER gets an environment for each other loader, unless it has it, which shares torch with this one.
"""

import argparse
import contextlib
import json
import os
import platform
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

from benchmarks.resume_sides.rank import Task
from benchmarks.resume_verdict import Outcome, Run, judged, together

SAMPLES, GLOBAL_BATCH, EPOCHS = 240, 12, 3
STEPS = SAMPLES // GLOBAL_BATCH
LIMIT_S = 600
"""A run that takes longer hangs; on a machine of one's own they take some ten seconds."""


@dataclass(frozen=True)
class Other:
    """A loader: its side, what is installed for it, and when that was released."""

    side: str
    name: str
    requirement: str
    released: str
    call: str
    limit: str
    "What its documentation says about other ranks and workers."


@dataclass(frozen=True)
class Layout:
    """Of a run."""

    ranks: int
    workers: int

    def __str__(self) -> str:
        return f"{self.ranks} x {self.workers}"


@dataclass(frozen=True)
class Case:
    """Where the state is kept, (epoch, steps done in it), and on what the run goes on."""

    name: str
    keep: tuple[int, int]
    then: Layout


BASE = Layout(2, 2)
CASES = [
    Case("mid-epoch", (0, 7), BASE),
    Case("in epoch 2", (1, 7), BASE),
    Case("after an epoch's last step", (0, STEPS), BASE),
    Case("between epochs", (1, 0), BASE),
    Case("2 x 4", (0, 7), Layout(2, 4)),
    Case("2 x 1", (0, 7), Layout(2, 1)),
    Case("4 x 1", (0, 7), Layout(4, 1)),
    Case("1 x 2", (0, 7), Layout(1, 2)),
    Case("3 x 2", (0, 7), Layout(3, 2)),
]

OTHERS = [
    Other(
        *("of_this", "this loader", "", ""),
        call="the position that a checkpoint keeps (`pipeline.order.position`), one for all ranks",
        limit="any ranks and workers, if the ranks divide the global batch",
    ),
    Other(
        *("of_litdata", "LitData", "litdata==0.2.76", "2026-09-30"),
        call="`StreamingDataLoader.state_dict()` of each rank and `load_state_dict()` before the first batch; a rank "
        "that was not there gets rank 0's",
        limit="both may change: it 'restripes the rest'; with ranks `drop_last` is on, so that what ranks x workers x "
        "batch do not divide is left out",
    ),
    Other(
        *("of_mosaicml", "mosaicml streaming", "mosaicml-streaming==0.13.0", "2025-07-15"),
        call="`StreamingDataLoader.state_dict()` of rank 0 and `load_state_dict()` on all ranks. Where the state is "
        "kept after an epoch's loop, the first pass is empty, so that a loop of so many passes ends an epoch early",
        limit="elastic determinism: both may change, if the ranks divide the global batch",
    ),
    Other(
        *("of_elastic_grain", "Grain, `ElasticIterator`", "grain==0.2.18", "2026-06-17"),
        call="`grain.experimental.ElasticIterator`, `get_state()` of rank 0 and `set_state()` on all ranks",
        limit="both may change; experimental",
    ),
    Other(
        *("of_grain", "Grain, `mp_prefetch`", "grain==0.2.18", "2026-06-17"),
        call="`MapDataset.shuffle().repeat()[rank::ranks].batch().to_iter_dataset().mp_prefetch()`, `get_state()` and "
        "`set_state()` of each rank's iterator; a rank that was not there gets rank 0's",
        limit="`ElasticIterator` is for other ranks",
    ),
    Other(
        *("of_energon", "Megatron-Energon", "megatron-energon==7.4.1", "not stamped"),
        call="`save_state_rank()` and `restore_state_rank()`; for other ranks `energon checkpoint redist`. "
        "Micro-batches of 3, or 1 where 3 do not divide a rank's share",
        limit="ranks x workers must stay the same",
    ),
    Other(
        *("of_torchdata", "torchdata", "torchdata==0.11.0", "2025-02-20"),
        call="`StatefulDataLoader.state_dict()` and `load_state_dict()` of each rank, with a "
        "`StatefulDistributedSampler`; a rank that was not there gets rank 0's",
        limit='"not across ranks"',
    ),
    Other(
        *("of_webdataset", "webdataset", "webdataset==1.0.2", "2025-06-19"),
        call="none: it begins the epoch again, in the same order by `detshuffle`",
        limit="offers no state",
    ),
]

Row = dict[str, Any]
"""`day` on which it was measured, and `cells`: what each case, by its name, came to."""


class StoppedError(Exception):
    """A run that ended before its time: what it said, for a table."""


def environment(folder: Path, other: Other) -> Path:
    """The Python that has `other`, made where there is none; `StoppedError` where it does not install."""
    if not other.requirement:
        return Path(sys.executable)
    place = folder / other.requirement
    python = place / "bin/python"
    if not (place / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True, stdout=sys.stderr)
        here = sysconfig.get_path("purelib")
        inner = sysconfig.get_path("purelib", vars={"base": str(place)})
        (Path(inner) / "shared.pth").write_text(f"{here}\n")
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", other.requirement]
        done = subprocess.run(install, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise StoppedError(f"does not install: {done.stderr.strip().splitlines()[-1]}")
        (place / "made").touch()
    return python


class Loader:
    """One that is installed, with its data, until the end of the `with`. Raises `StoppedError` where there is none."""

    def __init__(self, python: Path, side: str, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.resume_sides.rank", side, self.data, str(SAMPLES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what is in no buffer is what `select` sees
        )

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self._pipes()[0].close()
        self.process.wait()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self.process.stdin is not None and self.process.stdout is not None
        return self.process.stdin, self.process.stdout

    def run(
        self, name: str, layout: Layout, keep: tuple[int, int] | None = None, kept: Path | None = None
    ) -> Path:
        """Its folder, with what ranks took; to the end, or killed after the state of `keep`.

        Raises `StoppedError`.
        """
        out = self.folder / name
        out.mkdir()
        files = []
        for rank in range(layout.ranks):
            task = Task(
                *(str(self.data), str(out), rank, layout.ranks, layout.workers),
                *(GLOBAL_BATCH // layout.ranks, SAMPLES, EPOCHS, str(out / "rendezvous")),
                *(keep, None if kept is None else str(kept)),
            )
            files.append(f"{out}/{rank}.json")
            Path(files[-1]).write_text(json.dumps(asdict(task)))
        told, tells = self._pipes()
        told.write(json.dumps(files).encode() + b"\n")
        leader = tells.readline()
        if not leader:
            raise StoppedError("does not start")
        try:
            self._wait(out, layout.ranks, killed=keep is not None)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(leader), signal.SIGKILL)
            if not (out / "ended").exists():
                tells.readline()
        return out

    def _wait(self, out: Path, ranks: int, killed: bool) -> None:
        """Until all ranks are at their end, or all stand where they are to be killed.

        Their end is that of the last epoch: some loaders take long to end their processes.
        """
        _, tells = self._pipes()
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            if len(list(out.glob("*.ready" if killed else "*.done"))) == ranks:
                return
            if select.select([tells], [], [], 0.1)[0]:
                (out / "ended").touch()
                if int(tells.readline()):
                    raise StoppedError(_reason(out))
                if killed:
                    raise StoppedError("ended before it was to be killed")
        raise StoppedError("hangs")


def _reason(out: Path) -> str:
    for file in sorted(out.glob("*.error")):
        said = json.loads(file.read_text())
        kind = "crashed" if said["kind"] in CRASHES or not said["text"] else "refused"
        text = (said["text"].strip().splitlines() or ["without a word"])[-1][:300]
        return f"{kind}: {said['kind']}: {text}"
    log = (out / "log").read_text(errors="replace").strip().splitlines()
    return f"crashed: {log[-1] if log else 'no word'}"


CRASHES = {"KeyError", "IndexError", "TypeError", "AttributeError", "ZeroDivisionError", "StopIteration"}
"""What a loader raises that did not see what it was given; other errors say what is wrong."""


def taken(out: Path, until: tuple[int, int] | None = None) -> Run:
    """What the ranks in folder `out` took, up to step `until` (epoch, steps done in it)."""
    ranks = []
    for file in sorted(out.glob("*.jsonl")):
        records = [json.loads(line) for line in file.read_text().splitlines()]
        ranks.append([record for record in records if until is None or (record[0], record[1]) <= until])
    return together(ranks)


def cell(first: Outcome, later: Outcome | None) -> str:
    """What a case's epoch and the later ones came to, in a few words."""
    if later is None or (first.same and later.same):
        return str(first)
    return f"{first}; then {later}"


def conformance(loader: Loader, keep: Callable[[str, str], None], cases: list[Case]) -> None:
    """Measures `cases`, and hands each one's name and cell to `keep`."""
    undisturbed = taken(loader.run("undisturbed", BASE))
    killed: dict[tuple[int, int], Path] = {}
    for number, case in enumerate(cases):
        try:
            if case.keep not in killed:
                killed[case.keep] = loader.run(f"killed-{number}", BASE, keep=case.keep)
            kept = killed[case.keep]
            resumed = taken(loader.run(f"resumed-{number}", case.then, kept=kept))
            keep(case.name, cell(*judged(undisturbed, taken(kept, case.keep), resumed)))
        except StoppedError as stop:
            keep(case.name, str(stop))


def row(folder: Path, other: Other, cases: list[Case]) -> Row:
    """Of `other`: what FOLDER has of it, and the missing ones of `cases`, measured now."""
    file = folder / f"{other.side}.json"
    found: Row = json.loads(file.read_text()) if file.exists() else {"cells": {}}
    missing = [case for case in cases if case.name not in found["cells"]]

    def keep(name: str, said: str) -> None:
        found["day"] = str(date.today())
        found["cells"][name] = said
        file.write_text(json.dumps(found))
        print(f"{other.name}, {name}: {said}", file=sys.stderr, flush=True)

    if missing:
        try:
            measure(folder, other, keep, missing)
        except StoppedError as stop:
            for case in missing:
                keep(case.name, str(stop))
    return found


def measure(folder: Path, other: Other, keep: Callable[[str, str], None], cases: list[Case]) -> None:
    """Installs `other` if need be, makes its data, and measures. Raises `StoppedError`."""
    python = environment(folder, other)
    with (
        tempfile.TemporaryDirectory(prefix="resume-conformance.") as temporary,
        Loader(python, other.side, Path(temporary)) as loader,
    ):
        conformance(loader, keep, cases)


def report(rows: dict[Other, Row]) -> str:
    """The results file."""
    days = sorted({found["day"] for found in rows.values() if found["cells"]})
    notes: list[str] = []
    lines = [
        "# Resume: which loaders lose, repeat or reorder samples",
        "",
        f"{' and '.join(days)}, Python {platform.python_version()}; `python -m benchmarks.resume_conformance FOLDER`. "
        "What is compared are ids; no time is measured.",
        "",
        f"{SAMPLES} samples in files of about ten, {EPOCHS} epochs of {STEPS} steps of {GLOBAL_BATCH}, on {BASE.ranks} "
        f"ranks (processes) x {BASE.workers} workers (processes of theirs). The state is kept after step "
        f"{CASES[0].keep[1]} of the first or second epoch, or at an epoch's end. The run goes on for two steps more, "
        "and all its processes are killed with SIGKILL. A new run goes on from the state, on the same or on other "
        "ranks x workers, with the same global batch.",
        "",
        "**exact**: every global batch up to the end of the last epoch has the samples that an undisturbed run has in "
        "it. **other order**: every sample once in the epoch, in other batches. Lost and repeated samples are counted "
        f'in the epoch of the kill (of {SAMPLES}); "then" tells of the later epochs. **refused**: it ends with an '
        "error that says why; **crashed**: with one that does not; **hangs**: nothing comes for "
        f"{LIMIT_S // 60} minutes.",
        "",
        "| loader | " + " | ".join(case.name for case in CASES) + " |",
        "|---|" + "---|" * len(CASES),
    ]
    for other, found in rows.items():
        cells = [_short(found["cells"].get(case.name, "not yet"), notes) for case in CASES]
        lines.append(f"| {other.name} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), ""]
    lines += ["What was called, and what the documentation says of other ranks and workers:", ""]
    lines += ["| loader | version | released | saved and loaded by | documented |", "|---|---|---|---|---|"]
    for other in rows:
        version = other.requirement.partition("==")[2] or "this commit"
        lines.append(f"| {other.name} | {version} | {other.released} | {other.call} | {other.limit} |")
    return "\n".join(lines)


def _short(cell: str, notes: list[str]) -> str:
    """A cell without the words of an error, which become a note."""
    kind, colon, text = cell.partition(": ")
    if not colon:
        return cell
    if text not in notes:
        notes.append(text)
    return f"{kind} ({notes.index(text) + 1})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume_conformance")
    parser.add_argument("folder", type=Path, help="has the environments and the rows that were measured")
    parser.add_argument("--only", help="measure this side alone, and print no table")
    parser.add_argument("--print", action="store_true", help="print what FOLDER has, and measure nothing")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.only:
        row(args.folder, next(other for other in OTHERS if other.side == args.only), CASES)
        return
    cases = [] if args.print else CASES
    print(report({other: row(args.folder, other, cases) for other in OTHERS}))


if __name__ == "__main__":
    main()

"""Stand-ins for outside programs, and a configuration to start."""

import os
import shlex
from pathlib import Path

import pytest

EXPECTED = Path(__file__).parent / "expected"
CONFIG = "data: {root: shards, workers: 2}\nrun: {folder: run}\noptim: {global_batch: 8}\n"


def stub(folder: Path, name: str, text: str) -> None:
    """An outside program that does what `text` says in bash."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)


class Queue:
    """A stand-in for SLURM's sbatch, which takes every job, from number 17 on, and keeps what it was asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls = folder / "calls"
        self._calls.touch()
        self.folder = folder / "bin"
        calls = shlex.quote(str(self._calls))
        stub(
            self.folder,
            "sbatch",
            f'printf "%s|" "$@" >>{calls}; echo >>{calls}; echo $((16 + $(wc -l <{calls})))',
        )
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def calls(self) -> list[list[str]]:
        """The words of each call."""
        return [line.split("|")[:-1] for line in self._calls.read_text().splitlines()]

"""A program without `if __name__ == "__main__":` hears of it in one line, once, whatever it starts processes for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment

POOL = """
from sharding.workers import pool

def work(task, report):
    return task

def lost(lost):
    return lost.task

pool.run(work, range(4), 2, lambda *_: None, lambda *_: None, lost)
"""
LOADER = """
import sys
from pipeline.data.loader import batches
from tests.unit.pipeline.data.test_loader import stream

next(batches(stream(sys.argv[1]), workers=2))
"""
BUILD = """
import sys
from pathlib import Path
from sharding.building.build import Request, build

folder = Path(sys.argv[1])
build(Request("csv", folder / "videos.csv", folder, str(folder / "out"), workers=2))
"""


def ended(*words: str, told: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Python with these arguments, `told` that on standard input."""
    return subprocess.run(
        [sys.executable, *words],
        input=told,
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.parametrize("program", [POOL, LOADER, BUILD], ids=["pool", "loader", "build"])
def test_a_missing_guard_is_told_once(program: str, tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("path,label\n" + "".join(f"{i}.webm,a\n" for i in range(9)))
    (tmp_path / "program.py").write_text(program)
    done = ended(str(tmp_path / "program.py"), str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stderr.count('behind `if __name__ == "__main__":`') == 1
    assert "sharding.errors.UserError: " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("program", [POOL, LOADER], ids=["pool", "loader"])
def test_a_program_on_standard_input_is_told_that_it_needs_a_file(program: str, tmp_path: Path) -> None:
    done = ended("-", str(tmp_path), told=program)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert "UserError: the program has no file (<stdin>), and Python" in done.stderr.splitlines()[-1]

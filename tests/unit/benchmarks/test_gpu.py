"""The command for the first minutes on a GPU: a table is left, whatever happens to its rows."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import gpu, gpu_rows
from benchmarks.gpu import Group, Table
from tests.processes import ROOT


def kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Processes run `text` in place of the program that makes rows."""
    program = tmp_path / "rows.py"
    program.write_text("import json, os, sys, time, subprocess\n" + text)
    run = gpu.subprocess.Popen

    def started(command, **options):  # type: ignore[no-untyped-def]
        assert command[1:3] == ["-m", "benchmarks.gpu_rows"]
        return run([sys.executable, str(program), *command[3:]], **options)

    monkeypatch.setattr(gpu.subprocess, "Popen", started)


def hanging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str = "") -> None:
    """A process of rows tells of a child, which was started with the options `how`, and hangs with it."""
    kinds(
        monkeypatch,
        tmp_path,
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], {how})\n"
        "print(json.dumps({'row': 'child', 'pid': child.pid}), flush=True)\n"
        "time.sleep(600)\n",
    )


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_rows_are_there_as_soon_as_they_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds(
        monkeypatch,
        tmp_path,
        "print('a library says something')\n"
        "print('{and: so does this')\n"
        "print('{}')\n"
        "print(json.dumps({'row': 'first', 'clips_per_s': 1.5}), flush=True)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "print(json.dumps({'row': 'second', 'failed': 'out of memory: a | b'}), flush=True)\n",
    )
    out, go = tmp_path / "out", tmp_path / "go"
    table = Table(out, "command")
    rows = gpu.rows_of(Group("steps", 60, [str(go)]), [], limit_s=60)
    table.add("steps", next(rows))
    assert "| first | 1.5 |" in (out / "report.md").read_text()
    go.touch()
    for row in rows:
        table.add("steps", row)
    assert [row["row"] for row in read(out)] == ["first", "second"]
    assert "| second |  | out of memory: a / b |" in (out / "report.md").read_text()


def test_a_process_that_dies_is_a_row_and_the_next_has_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds(monkeypatch, tmp_path, "sys.exit('no such device')\n")
    gpu.measure([Group("a", 60, ["x"]), Group("c", 60, ["y"])], [], 8, Table(tmp_path / "out", "command"))
    assert read(tmp_path / "out") == [
        {"group": "a", "row": "x", "failed": "status 1: no such device"},
        {"group": "c", "row": "y", "failed": "status 1: no such device"},
    ]


def test_a_process_that_hangs_is_a_row_and_ends_with_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging(monkeypatch, tmp_path)
    now = 0.0
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: now))
    rows = gpu.rows_of(Group("b", 60, ["hangs"]), [], limit_s=60)
    child = Path(f"/proc/{next(rows)['pid']}/stat")
    now = 60.0
    assert list(rows) == [{"row": "hangs", "failed": "cut off after 60 s"}]
    while child.exists() and ") Z " not in child.read_text():  # pytest's own limit ends it
        time.sleep(0.02)


def test_what_has_no_time_left_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds(monkeypatch, tmp_path, "")
    gpu.measure([Group("a", 60, ["x"])], [], 0, Table(tmp_path / "out", "command"))
    assert read(tmp_path / "out") == [{"group": "a", "row": "x", "failed": "no time was left"}]


def test_the_newest_of_a_name_stands_in_the_table_and_what_was_known_before(tmp_path: Path) -> None:
    table = Table(tmp_path, "command")
    for passed in (1, 2):
        table.add("tests", {"row": "all", "passed": passed})
    table.add("tests", {"row": "all", "failed": "cut off"})
    assert "| all | 2 | cut off |" in table.page() and "| all | 1 |" not in table.page()


def test_a_process_that_left_its_session_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging(monkeypatch, tmp_path, "start_new_session=True")
    now = 0.0
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: now))
    rows = gpu.rows_of(Group("b", 60, ["hangs"]), [], limit_s=60)
    pid = int(str(next(rows)["pid"]))
    now = 60.0
    try:
        assert list(rows) == [{"row": "hangs", "failed": "cut off after 60 s"}]
    finally:
        os.kill(pid, signal.SIGKILL)


WITHOUT = """
import sys
for client in ("boto3", "azure", "google"):
    sys.modules[client] = None
import pytest
sys.exit(pytest.main(["-o", "addopts=", "-q", "-p", "no:cacheprovider", "tests/gpu"]))
"""


def test_the_gpus_tests_need_no_client_of_a_store() -> None:
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_most_important_rows_come_first_and_all_are_known() -> None:
    chosen = gpu.groups(cores=16)
    assert chosen[0].arguments == ["environment"]
    assert chosen[1].arguments[:4] == ["step", "blvnet-50-f8x2", "bf16", "kernel"]
    assert {group.arguments[0] for group in chosen} == set(gpu_rows.KINDS)
    assert next(g.arguments for g in chosen if g.arguments[0] == "stream") == ["stream", "12", "6", "3", "1"]
    assert len({tuple(group.arguments) for group in chosen}) == len(chosen)
    small = gpu.tiny(chosen)
    assert {group.arguments[0] for group in small} == set(gpu_rows.KINDS) and len(small) == 8


def test_a_row_that_fails_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    def fails() -> dict[str, object]:
        raise OutOfMemoryError("tried to allocate 2 GiB\nsecond line")

    gpu_rows.guarded("batch 128", fails)
    gpu_rows.guarded("batch 8", lambda: {"clips_per_s": 3})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"row": "batch 128", "failed": "out of memory: tried to allocate 2 GiB"}
    assert lines[1] == {"row": "batch 8", "clips_per_s": 3}


def test_it_needs_no_gpu_to_say_what_it_lacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu_rows.NEEDED, "no_such_module_here", "a-package")
    monkeypatch.setattr(sys, "argv", ["gpu_rows", "environment", "--device", "cpu"])
    gpu_rows.main()
    row = json.loads(capsys.readouterr().out)
    assert (
        row["row"] == "CPU"
        and row["cores"] == len(os.sched_getaffinity(0))
        and "a-package" in row["to_bring"]
    )


ALONE = """
import sys
for package in ("pydantic", "yaml", "isal", "simplejpeg", "av", "smart_open"):
    sys.modules[package] = None
sys.argv = ["gpu_rows", "step", "blvnet-26-f1x2", "fp32", "kernel", "eager", "2"]
sys.argv += ["--device", "cpu", "--size", "32", "--seconds", "0.01"]
from benchmarks import gpu_rows
gpu_rows.main()
"""


def test_steps_need_torch_and_torchvision_alone() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=True)
    first, last = (json.loads(line) for line in done.stdout.splitlines())
    assert "training_per_s" in first and last == {**first, "inference_per_s": last["inference_per_s"]}


def test_a_test_that_fails_is_a_row_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_rows.os, "environ", {**os.environ, "PYTHONPATH": ""})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "gpu").mkdir(parents=True)
    (tmp_path / "tests" / "gpu" / "test_it.py").write_text(
        "def test_right():\n    pass\n\n\ndef test_wrong():\n    raise ValueError('a | b')\n"
    )
    gpu_rows.tests(SimpleNamespace())  # type: ignore[arg-type]
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert rows[-2] == {"row": "test_it.py::test_wrong", "failed": "ValueError: a | b"}
    assert rows[-1] == {"row": "all tests", "passed": 1, "failed": 1, "skipped": 0}

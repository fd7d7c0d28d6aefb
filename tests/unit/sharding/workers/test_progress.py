"""How far a long stage is: lines in a log, a bar in a terminal, and no carriage return where nobody sees it."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.workers import progress

ROOT = Path(__file__).parents[4]


class Clock:
    now = 1e5

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def build(clock: Clock) -> None:
    """5,000 videos of which 2,000 were there, 1,000 in 20 seconds; the third thousand is begun again once."""
    with progress.bar("build", 5000, "video", initial=2000) as bar:
        bar.beside("1 failed")
        for count in (1000, 1000, -500, 500, 1000):
            clock.now += 20 * abs(count) / 1000
            bar.update(count)


def test_a_log_has_a_line_every_half_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    build(clock)
    assert capsys.readouterr().err == "build: 4,000 of 5,000 videos, 1 failed, 0:00:20 left\n"


def test_bytes_are_counted_in_larger_units(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("unpack", 20_000_000_000, "B", scale=True) as bar:
        clock.now += 60
        bar.update(5_000_000_000)
    assert capsys.readouterr().err == "unpack: 5.00GB of 20.0GB, 0:03:00 left\n"


def test_what_began_again_has_no_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("build", 10, "video", initial=5) as bar:
        clock.now += 60
        bar.update(-1)
    assert capsys.readouterr().err == "build: 4 of 10 videos\n"


def test_a_terminal_has_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    build(clock)
    assert "/5000" in terminal.getvalue()
    assert "\n" not in terminal.getvalue().rstrip("\n")


def test_every_bar_of_the_project_has_lines_where_there_is_no_terminal() -> None:
    made = subprocess.run(["git", "grep", "-l", "import tqdm"], cwd=ROOT, capture_output=True, text=True)
    files = [path for path in made.stdout.split() if not path.startswith("tests/")]
    assert "sharding/workers/progress.py" in files
    for path in files:
        assert "isatty()" in (ROOT / path).read_text(), f"{path}: use sharding.workers.progress"


def test_a_stage_of_the_command_line_writes_no_carriage_return(tmp_path: Path) -> None:
    program = (
        "from sharding.demo import demo; import sys\n"
        "demo.make(sys.argv[1], workers=1, classes=2, train=2, validation=2, test=2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert "\r" not in done.stdout + done.stderr

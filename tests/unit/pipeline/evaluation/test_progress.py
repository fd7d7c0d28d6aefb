"""How far an evaluation is: a bar in a terminal, a line now and then in a log."""

import io
import sys

import pytest

from pipeline.evaluation.progress import Progress
from sharding.workers import progress
from sharding.workers.progress import LINE_S


class Clock:
    now = 1e5

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def evaluate(clock: Clock, shown: bool = True) -> None:
    """2,500 videos, 1,000 in 20 seconds."""
    with Progress(2500, "evaluating", shown) as counted:
        for _ in range(3):
            clock.now += 20
            counted.add(1000)


def test_a_log_has_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert LINE_S == 30
    evaluate(clock)
    assert capsys.readouterr().err == "evaluating: 2,000 of 2,500 videos, 0:00:10 left\n"
    clock.now += 0
    with Progress(10, "evaluating", shown=True) as counted:  # a short one says nothing
        counted.add(10)
    assert capsys.readouterr().err == ""


def test_other_ranks_say_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(clock, shown=False)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    evaluate(clock)
    assert "evaluating:   0%" in terminal.getvalue() and "/2500" in terminal.getvalue()
    assert "left" not in terminal.getvalue()

"""Waiting for others."""

import itertools
import socket
import threading
import time

import pytest

from pipeline.ranks import waiting
from tests.stores import free_ports


def test_one_who_comes_later_answers() -> None:
    (port,) = free_ports(1)

    def come() -> None:
        time.sleep(0.5)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()[0].close()

    late = threading.Thread(target=come)
    late.start()
    assert waiting.answers("127.0.0.1", port, patience_s=60)
    late.join(10)


@pytest.mark.parametrize("host", ["127.0.0.1", "nobody.invalid"])
def test_nobody_answers_within_the_time(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    clock = itertools.count(step=200)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert not waiting.answers(host, port, patience_s=600)
    assert next(clock) == 1000  # it began at 0, and tried until after 600


def test_whom_one_waits_for_is_said_every_half_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, asked = itertools.count(step=10), threading.Event()

    def missing() -> str:
        if next(ticks) == 7:
            asked.set()
        return "node-b is not there yet"

    ticks = itertools.count(1)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(waiting, "_ASKED_EVERY_S", 0.01)
    with waiting.told(missing):
        assert asked.wait(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"waiting for {seconds} s: node-b is not there yet" for seconds in (30, 60)]

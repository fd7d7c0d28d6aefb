"""What a launcher and its ranks tell each other through a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.ranks import launcher
from pipeline.ranks.launcher import Ending


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(launcher.FOLDER, str(tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("BLVNET_LAUNCHER_START", "0")  # restored at the end
    return tmp_path


def test_only_the_ranks_that_were_started_last_count(folder: Path) -> None:
    # torchrun's own count stays at 0 when ranks are started again for hosts that came.
    launcher.begin_start(folder, 9)
    launcher.ended(75)
    launcher.begin_start(folder, 10)
    launcher.started()
    assert list(launcher.endings(folder)) == [Ending(1, os.getpid(), None)]
    assert launcher.running(folder) == [os.getpid()]


def test_a_rank_that_is_gone_without_a_word_does_not_run(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    (folder / f"0-1-{process.pid}").write_text("started")
    assert launcher.running(folder) == []


def test_ranks_know_that_hosts_come_or_go_until_they_are_started_again(folder: Path) -> None:
    assert not launcher.regrouping()
    launcher.regroup(folder)
    assert launcher.regrouping()
    assert not list(launcher.endings(folder))
    launcher.begin_start(folder, 1)
    assert not launcher.regrouping()


def test_no_launcher_of_ours_regroups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launcher.FOLDER, raising=False)
    assert not launcher.regrouping()


def test_every_number_of_ranks_of_hosts_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launcher.HOSTS, raising=False)
    assert list(launcher.world_sizes()) == []
    monkeypatch.setenv(launcher.HOSTS, "2:4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert list(launcher.world_sizes()) == [16, 24, 32]

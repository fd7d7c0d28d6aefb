"""A run folder has one owner: a living one is respected, a dead one succeeded, a late one ends before it writes."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.run import owner
from pipeline.run.owner import BEAT_S, LEASE_S, TRUST_S, Life, LostFolderError, Record, claim
from sharding.errors import UserError


class Time:
    """All clocks, which only sleeping moves; `during` happens at each second of a sleep."""

    def __init__(self) -> None:
        self.now = 1e9
        self.during: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(owner, "time", clock)
    monkeypatch.setattr(owner, "_now", clock.time)
    return clock


def write(folder: Path, record: Record) -> None:
    (folder / "owner.json").write_text(json.dumps(asdict(record)))


def read(folder: Path) -> Record:
    return Record(**json.loads((folder / "owner.json").read_text()))


def elsewhere(clock: Time) -> Record:
    """A run on another host that wrote just now."""
    return Record("other", "", "node7", 4711, "another machine", "12", beat=3, time=clock.now)


def test_a_free_folder_is_taken_and_given_back(tmp_path: Path, clock: Time) -> None:
    held = claim(str(tmp_path))
    assert read(tmp_path).pid == os.getpid()
    held.beat()
    held.release()
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_is_refused_while_the_first_beats(
    tmp_path: Path, clock: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    first = elsewhere(clock)
    write(tmp_path, first)
    clock.now += 4
    began = clock.now

    def beat() -> None:
        if clock.now - began >= BEAT_S - 4:
            write(tmp_path, replace(first, beat=4, time=began + BEAT_S - 4))

    clock.during = beat
    with pytest.raises(
        UserError, match=r"a run of host node7 \(process 4711\) wrote here 0 s ago; stop it first"
    ):
        claim(str(tmp_path))
    assert clock.now - began <= BEAT_S
    assert "host node7 (process 4711) wrote here 4 s ago; waiting up to 60 s" in capsys.readouterr().out
    assert read(tmp_path).token == "other"


def test_a_run_whose_count_stands_still_for_the_lease_is_succeeded(tmp_path: Path, clock: Time) -> None:
    write(tmp_path, elsewhere(clock))
    began = clock.now
    claim(str(tmp_path))
    assert LEASE_S <= clock.now - began <= LEASE_S + 2
    assert read(tmp_path).pid == os.getpid()


@pytest.mark.parametrize("ahead_s", [-900.0, 900.0])
def test_clocks_that_disagree_do_not_matter(tmp_path: Path, clock: Time, ahead_s: float) -> None:
    write(tmp_path, replace(elsewhere(clock), time=clock.now + ahead_s))
    began = clock.now
    claim(str(tmp_path))
    assert clock.now - began >= LEASE_S


def test_a_dead_process_of_this_machine_is_succeeded_at_once(tmp_path: Path, clock: Time) -> None:
    claim(str(tmp_path))
    mine = read(tmp_path)
    began = clock.now
    for dead in (
        replace(mine, pid=2**22 + 1),
        replace(mine, process="1"),
    ):  # gone, and another one of the number
        write(tmp_path, dead)
        claim(str(tmp_path))
    assert clock.now == began


def test_a_living_process_of_this_machine_that_does_not_beat_is_succeeded_after_the_lease(
    tmp_path: Path, clock: Time
) -> None:
    claim(str(tmp_path))
    began = clock.now
    claim(str(tmp_path))  # the first one is frozen, say
    assert clock.now - began >= LEASE_S


def test_the_same_job_of_a_cluster_takes_over_at_once(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    write(tmp_path, replace(elsewhere(clock), job="17.0"))
    began = clock.now
    claim(str(tmp_path))
    assert clock.now == began


def test_a_run_that_comes_back_finds_its_folder_taken_before_it_writes(tmp_path: Path, clock: Time) -> None:
    first = claim(str(tmp_path))
    first.check()
    clock.now += LEASE_S + 1  # frozen
    second = claim(str(tmp_path))
    with pytest.raises(
        LostFolderError, match=r"has taken this run's folder over; this one ends without writing"
    ):
        first.check()
    second.check()
    first.release()
    assert read(tmp_path).token == second.token


def test_what_was_seen_a_moment_ago_is_trusted_and_the_trust_is_shorter_than_the_lease(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TRUST_S + BEAT_S < LEASE_S
    held = claim(str(tmp_path))
    looks = []
    monkeypatch.setattr(owner.Owner, "_look", lambda self: looks.append(clock.now))
    for _ in range(100):  # as many steps of training
        clock.now += 0.25
        held.check()
    assert looks == []
    clock.now += TRUST_S
    held.check()
    assert len(looks) == 1


def test_two_that_start_at_the_same_moment_do_not_both_go_on(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = owner.storage.write_bytes

    def raced(url: str, data: bytes) -> None:
        write_bytes(url, data)
        write(tmp_path, elsewhere(clock))

    monkeypatch.setattr(owner.storage, "write_bytes", raced)
    with pytest.raises(UserError, match="started in this folder at the same moment"):
        claim(str(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": 1}'])
def test_what_a_killed_write_left_does_not_hold_the_folder(tmp_path: Path, clock: Time, content: str) -> None:
    (tmp_path / "owner.json").write_text(content)
    claim(str(tmp_path))
    assert read(tmp_path).pid == os.getpid()


def test_a_reader_sees_who_lives_who_is_silent_and_who_is_dead(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert owner.life(str(tmp_path)) is None
    there = elsewhere(clock)
    write(tmp_path, there)
    clock.now += 7
    assert owner.life(str(tmp_path)) == Life(dead=False, silent_s=7)
    clock.now += LEASE_S
    assert owner.life(str(tmp_path)) == Life(dead=False, silent_s=7 + LEASE_S)
    clock.now += 3600
    assert owner.life(str(tmp_path)) == Life(dead=True, silent_s=3667)
    write(tmp_path, replace(there, time=clock.now + 5))  # by a clock that is ahead
    assert owner.life(str(tmp_path)) == Life(dead=False, silent_s=0)
    # Of this machine: a process that lives, and one that is gone.
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.setenv(name, "12")  # a report may be made in the job of the run
    held = claim(str(tmp_path))
    assert owner.life(str(tmp_path)) == Life(dead=False, silent_s=0)
    write(tmp_path, replace(read(tmp_path), process="another"))
    assert owner.life(str(tmp_path)) == Life(dead=True, silent_s=0)
    held.release()


@pytest.mark.store
def test_a_bucket_has_one_owner_too(s3: str, clock: Time) -> None:
    first = claim(f"{s3}/run")
    content = owner.storage.read_bytes(f"{s3}/run/owner.json")
    beats = iter(range(5, 100))

    def beat() -> None:
        moved = {**json.loads(content), "beat": next(beats)}
        owner.storage.write_bytes(f"{s3}/run/owner.json", json.dumps(moved).encode())

    clock.during = beat
    with pytest.raises(UserError, match="stop it first"):
        claim(f"{s3}/run")
    clock.during = lambda: None
    clock.now += LEASE_S + 1
    claim(f"{s3}/run")
    with pytest.raises(LostFolderError):
        first.check()

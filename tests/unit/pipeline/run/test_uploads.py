"""What is written beside training: in order, again where it fails, and for so long as patience lasts."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.run import checkpoint, uploads
from pipeline.run.checkpoint import Checkpoints
from pipeline.run.owner import LostFolderError
from pipeline.run.snapshot import copied
from pipeline.run.uploads import Uploads
from sharding.errors import UserError
from tests.processes import wait_for

MINUTES = 60.0


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Store:
    """A store that may be away; what was written to it, in order."""

    def __init__(self) -> None:
        self.away, self.written, self.tries = False, list[str](), 0

    def work(self, name: str) -> Callable[[], None]:
        def write() -> None:
            self.tries += 1
            if self.away:
                raise UserError(f"s3://bucket/{name}: the store is away")
            self.written.append(name)

        return write


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(uploads, "time", clock)
    monkeypatch.setattr(uploads, "PAUSE_S", 0.01)  # of the thread's own, real clock
    return clock


def nothing() -> None:
    pass


def test_works_are_done_in_order_and_a_newer_one_replaces_an_older_that_waits(clock: Clock) -> None:
    store, go = Store(), threading.Event()
    made = Uploads(30 * MINUTES, nothing)
    made.submit("first", lambda: go.wait(10) and store.written.append("first"))  # type: ignore[func-returns-value,arg-type,return-value]
    made.submit("metrics", store.work("metrics of 10"))
    made.submit("checkpoint", store.work("checkpoint 10"))
    made.submit("metrics", store.work("metrics of 20"))
    made.submit("checkpoint", store.work("checkpoint 20"))
    go.set()
    made.close()
    assert store.written == ["first", "metrics of 20", "checkpoint 20"]


def test_a_store_that_is_away_for_twenty_nine_minutes_is_warned_of_once(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()
    made = Uploads(30 * MINUTES, nothing)
    store.away = True
    made.submit("checkpoint", store.work("checkpoint 10"))
    wait_for(lambda: store.tries >= 2)
    clock.now += 29 * MINUTES
    made.submit("checkpoint", store.work("checkpoint 20"))
    tried = store.tries
    wait_for(lambda: store.tries >= tried + 2)
    made.check()  # the run goes on
    store.away = False
    wait_for(lambda: store.written)
    made.close()
    assert store.written == ["checkpoint 20"]
    warning, good = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: s3://bucket/checkpoint 10: the store is away; training goes on")
    assert "for 30 minutes (run.checkpoint_patience_minutes)" in warning
    assert good == "the run folder can be written again, after 1740 s"


def test_after_patience_the_run_ends_and_the_newest_is_tried_once_more(clock: Clock) -> None:
    store = Store()
    made = Uploads(30 * MINUTES, nothing)
    store.away = True
    made.submit("checkpoint", store.work("checkpoint 10"))
    wait_for(lambda: store.tries >= 2)
    clock.now += 30 * MINUTES + 1
    with pytest.raises(
        UserError, match=r"checkpoint 10: the store is away; nothing could be written .* 30 minutes"
    ):
        made.check()
    store.away = False
    made.close()
    assert store.written == ["checkpoint 10"]


def test_what_cannot_be_written_on_the_way_out_is_said(clock: Clock) -> None:
    store = Store()
    store.away = True
    made = Uploads(30 * MINUTES, nothing)
    made.submit("checkpoint", store.work("checkpoint 10"))
    with pytest.raises(UserError, match="what is newer than the last checkpoint is lost"):
        made.close()


def test_success_starts_the_time_anew(clock: Clock) -> None:
    store = Store()
    made = Uploads(30 * MINUTES, nothing)
    for number in range(3):
        store.away = True
        made.submit("checkpoint", store.work(f"checkpoint {number}"))
        tried = store.tries
        wait_for(lambda tried=tried: store.tries >= tried + 2)  # type: ignore[misc]
        clock.now += 20 * MINUTES
        made.check()
        store.away = False
        wait_for(lambda number=number: len(store.written) > number)  # type: ignore[misc]
    made.close()


def test_a_run_that_has_lost_its_folder_writes_nothing_more(clock: Clock) -> None:
    store = Store()

    def lost() -> None:
        raise LostFolderError("runs/a: another run has taken it over")

    made = Uploads(30 * MINUTES, lost)
    made.submit("checkpoint", store.work("checkpoint 10"))
    with pytest.raises(LostFolderError):
        made.close()
    assert store.written == []


def test_what_changes_after_the_copy_is_not_in_the_checkpoint(tmp_path: Path) -> None:
    go = threading.Event()
    weight = torch.zeros(4)
    state = copied({"model": {"w": weight}, "optimizer": [{"m": weight}], "config": {}})

    def save() -> None:
        assert go.wait(10)
        Checkpoints(str(tmp_path), keep=1).save(1, state)

    made = Uploads(30 * MINUTES, nothing)
    made.submit("checkpoint", save)
    weight += 1  # while nothing is written yet
    go.set()
    made.close()
    saved = checkpoint.load(str(tmp_path))
    assert torch.equal(saved["model"]["w"], torch.zeros(4))
    assert torch.equal(saved["optimizer"][0]["m"], torch.zeros(4))

"""Files of JSON lines, the audit log among them, over kills and restarts."""

from pathlib import Path

import pytest
import torch

from pipeline.data.batch import Batch
from pipeline.run import audit_log, journal
from pipeline.run.audit_log import AuditLog
from pipeline.run.journal import Journal
from tests import audits


def batch(numbers: list[int]) -> Batch:
    return Batch(0, 0, numbers, [f"v{n}" for n in numbers], torch.empty(0), torch.empty(0))


def test_a_resumed_journal_goes_on_behind_its_checkpoint(tmp_path: Path) -> None:
    url = str(tmp_path / "metrics.jsonl")
    first = Journal(url, resumed_step=0)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": step / 3})
    with Path(url).open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    second = Journal(url, resumed_step=2)
    second.write({"step": 3, "loss": 9.0})
    assert journal.read(url) == [
        {"step": 1, "loss": 1 / 3},
        {"step": 2, "loss": 2 / 3},
        {"step": 3, "loss": 9.0},
    ]


def test_the_audit_log_joins_ranks_and_restarts(tmp_path: Path) -> None:
    folder = str(tmp_path)
    audit_log.clear(folder, 0)
    for rank in (0, 1):
        log = AuditLog(folder, rank, 0)
        for done in (1, 2, 3):
            log.write(done, batch([4 * done + rank, 4 * done + rank + 2]))
        log.flush()
    audit_log.clear(folder, 2)
    log = AuditLog(folder, 0, 2)  # goes on after 2 steps, alone
    log.write(3, batch([12, 13, 14]))
    log.flush()
    assert audits.keys_by_step(folder) == {
        1: ["v4", "v5", "v6", "v7"],
        2: ["v8", "v9", "v10", "v11"],
        3: ["v12", "v13", "v14"],
    }


def test_a_second_restart_from_an_earlier_step_replaces_the_first(tmp_path: Path) -> None:
    folder = str(tmp_path)
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4)), (1, (2,))):
        audit_log.clear(folder, start)
        log = AuditLog(folder, 0, start)
        for done in steps:
            log.write(done, batch([start]))
        log.flush()
    assert audits.keys_by_step(folder) == {1: ["v0"], 2: ["v1"]}


@pytest.mark.store
def test_a_bucket_holds_every_line_from_a_flush_on(s3: str) -> None:
    url = f"{s3}/metrics.jsonl"
    first = Journal(url, resumed_step=0)
    for step in (1, 2):
        first.write({"step": step})
    assert journal.read(url) == []  # held back: a bucket cannot append
    first.flush()
    first.write({"step": 3})
    second = Journal(url, resumed_step=2)
    second.write({"step": 3, "again": True})
    second.flush()
    assert journal.read(url) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]

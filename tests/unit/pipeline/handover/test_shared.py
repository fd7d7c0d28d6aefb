"""Shared memory that is too small is said at the start, or ends the run in one line: no hang, no early end."""

import errno
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config
from pipeline.data import loader
from pipeline.data.stream import ClipStream
from pipeline.handover import shared
from pipeline.handover.shared import check_room, reserve, shared_file
from pipeline.order import plan
from sharding.errors import UserError
from tests import shards
from tests.conftest import need
from tests.processes import ROOT, environment

CLIP = 16 * 3 * 224 * 224


def settings(**data: object) -> config.Config:
    tree = {"data": {"root": "unused", **data}, "run": {"folder": "unused"}}
    return config.override(tree, [], "test")


class Room:
    """What `os.statvfs` finds."""

    def __init__(self, free: int) -> None:
        self.f_bavail, self.f_frsize = free // 4096, 4096


def test_what_a_run_needs_is_held_against_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.os, "statvfs", lambda folder: Room(64_000_000))  # Docker's default
    with pytest.raises(UserError) as caught:
        check_room(settings(), ranks=1)
    needed = 2 * 5 * 64 * CLIP / 1e6
    assert f"64.0 MB of shared memory are free, {needed:,.1f} MB are needed" in str(caught.value)
    assert "docker run --shm-size" in str(caught.value) and "\n" not in str(caught.value)
    check_room(settings(workers=0), ranks=1)  # nothing is handed over
    monkeypatch.setattr(shared.os, "statvfs", lambda folder: Room(2 * 5 * 64 * CLIP + 4096))
    check_room(settings(), ranks=1)


def test_the_ranks_of_a_host_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.os, "statvfs", lambda folder: Room(2 * 5 * 32 * CLIP + 4096))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_room(settings(), ranks=4)  # half of the global batch on this host
    with pytest.raises(UserError, match="5 steps of 64 clips on this host"):
        check_room(settings(), ranks=2)


@pytest.mark.parametrize(
    ("views", "count", "side"),
    [
        ({"clips": 3, "crops": 3}, 63, 224),  # whole videos: 7 of 9 views
        ({"clips": 3, "crops": 3, "size": 256}, 63, 256),
        ({"clips": 10, "crops": 10}, 100, 224),  # one at least
        ({"clips": 2, "size": "full"}, 2, 256),  # at least as wide as high
    ],
)
def test_an_evaluation_has_a_ring_too(
    views: dict[str, object], count: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config.override({"data": {"root": "x"}, "run": {"folder": "x"}, "views": views}, [], "test")
    needed = 5 * (64 * CLIP + count * 16 * 3 * side * side)
    monkeypatch.setattr(shared.os, "statvfs", lambda folder: Room(needed // 4096 * 4096 - 4096))
    with pytest.raises(UserError, match=f"and 5 of {count} views in an evaluation"):
        check_room(chosen, ranks=1)
    monkeypatch.setattr(shared.os, "statvfs", lambda folder: Room(needed + 4096))
    check_room(chosen, ranks=1)


def full(file: int, offset: int, count: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_memory_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.os, "posix_fallocate", full)
    with (
        shared_file() as file,
        pytest.raises(UserError, match=r"/dev/shm: no room for 1\.0 MB of shared memory"),
    ):
        reserve(file.fileno(), 0, 1_000_000)


def test_a_folder_that_takes_no_file_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(shared.tempfile, "TemporaryFile", refused)
    with pytest.raises(
        UserError, match=r"/dev/shm: no shared memory can be had there: Read-only file system; "
    ):
        shared_file()


def test_without_that_folder_the_temporary_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FOLDER", tmp_path / "none")
    monkeypatch.setattr(shared.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shared.os, "posix_fallocate", full)
    with shared_file() as file, pytest.raises(UserError, match=f"^{tmp_path}: no room for "):
        reserve(file.fileno(), 0, 1_000_000)
    assert not list(tmp_path.iterdir())


def test_a_lost_part_ends_the_run() -> None:
    parts = [loader.Part(0, step, [], [], np.empty(0, np.int64), (), []) for step in (1, 2)]
    with pytest.raises(UserError, match=r"a part of step \(0, 1\) .* is missing: a loader process lost it"):
        loader._assembled(parts, memory=lambda count: torch.empty(count))


def test_a_loader_that_ends_early_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = shards.make(tmp_path, [12])
    from pipeline.data.clips import train_cutter
    from pipeline.data.stream import Passes

    chosen = config.override(
        {
            "model": {"num_frames": 2},
            "data": {"root": "x", "size": 32, "short_side": 32},
            "run": {"folder": "x"},
        },
        [],
        "test",
    )
    stream = ClipStream(
        split,
        train_cutter(chosen, split.classes),
        plan.Order(0, 2, 1),
        Passes(4, epochs=2, first_step=1),
        0,
        1,
    )
    assert len(list(loader.batches(stream, workers=0))) == 5
    whole = ClipStream.parts
    monkeypatch.setattr(ClipStream, "parts", lambda *which: islice(whole(*which), 3))
    with pytest.raises(UserError, match="the loader ended after 3 of 5 batches"):
        list(loader.batches(stream, workers=0))


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("size", "checked", "says"),
    [
        ("64m", True, "of shared memory are free, "),
        ("300k", False, "no room for "),
    ],
)
def test_a_real_run_with_little_shared_memory_ends_at_once(
    tmp_path: Path, size: str, checked: bool, says: str
) -> None:
    """A container's /dev/shm, once as large as Docker makes it, once too small for a batch that passed the check."""
    need(os.geteuid() == 0, "mounting a small /dev/shm takes root")
    shards.make(tmp_path, [24])
    shards.make(tmp_path, [4], split="validation")
    program = "from pipeline import train\n"
    if not checked:
        program += (
            "from pipeline.training import progress\nprogress.check_room = lambda config, ranks: None\n"
        )
    program += "if __name__ == '__main__':\n    raise SystemExit(train.main())\n"
    script = tmp_path / "small.py"
    script.write_text(program)
    words = [
        *(
            "--config=configs/demo.yaml",
            f"data.root={tmp_path}",
            f"run.folder={tmp_path}/run",
            "run.audit=true",
        ),
        *(
            "data.size=64",
            "data.short_side=64",
            "model.num_frames=8",
            "optim.global_batch=8",
            "optim.epochs=1",
            "optim.warmup_epochs=0",
        ),
        *(["optim.global_batch=24", "data.size=224", "data.short_side=224"] if checked else []),
        *("data.workers=2", "run.log_steps=1"),
    ]
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, str(script), *words],
        cwd=ROOT,
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: /dev/shm: ") and says in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr

"""A signal that ends a program, whatever it was at, leaves no half-written file behind."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sharding import storage
from sharding.storage import local

_OURS = {storage.__file__, local.__file__}


def publish(path: Path) -> None:
    with storage.publish(path) as stream:
        stream.write(b"new")


def put(path: Path) -> None:
    storage.write_bytes(path, b"new")


def interrupted(work: Callable[[], None], at: int) -> bool:
    """Whether `work` was interrupted, at its instruction number `at` in the modules of local storage."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in _OURS:
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if count > at:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# Of descriptors that go with what was interrupted.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("write", [put, publish])
def test_an_interruption_at_any_instruction_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    path, at = tmp_path / "file", 0
    path.write_bytes(b"old")
    while interrupted(lambda: write(path), at):
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"], at
        assert path.read_bytes() in (b"old", b"new")
        path.write_bytes(b"old")
        at += 1
    assert at > 100 and path.read_bytes() == b"new"

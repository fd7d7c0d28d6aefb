from pathlib import Path

import pytest

from sharding.building import spool
from sharding.building.spool import Spool

JPEGS = [bytes([i]) * (i + 1) for i in range(20)]


@pytest.mark.parametrize("in_memory", [0, 1, 50, 1 << 20])
def test_what_goes_in_comes_out_from_memory_or_file(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", in_memory)
    with Spool() as jpegs:
        for number, jpeg in enumerate(JPEGS):
            jpegs.append(jpeg)
            assert b"".join(jpegs) == b"".join(JPEGS[: number + 1])
        assert jpegs.bytes == sum(map(len, JPEGS))
        assert jpegs.offsets == [sum(map(len, JPEGS[:i])) for i in range(20)]
        assert list(jpegs.pick([3, 19, 0])) == [JPEGS[3], JPEGS[19], JPEGS[0]]


def test_nothing_is_left_of_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(spool.tempfile, "tempdir", str(tmp_path))
    with Spool() as jpegs:
        jpegs.append(b"x")
    assert list(tmp_path.iterdir()) == []

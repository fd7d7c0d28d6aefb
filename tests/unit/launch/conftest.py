"""A configuration in the current folder, and a queue that takes everything."""

from pathlib import Path

import pytest

from tests.unit.launch.stubs import CONFIG, Queue


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tiny.yaml` in the current folder, which has no shards."""
    monkeypatch.chdir(tmp_path)
    for name in ("PROCESSES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """What stands in for SLURM."""
    return Queue(tmp_path, monkeypatch)

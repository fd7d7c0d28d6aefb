"""A recorded run that tests copy before they change it."""

from pathlib import Path

import pytest

from sharding.format.manifest import Manifest
from tests import shards
from tests.unit.pipeline.run.recorded import checkpointed, record


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("shards")
    shards.make(root, [4, 3], split="validation", frames=2)
    return shards.make(root, [7, 5, 9, 4, 6], frames=2)


@pytest.fixture(scope="session")
def whole(split: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs on two ranks, then, from step 4 on, three, and from step 7 on one."""
    folder = tmp_path_factory.mktemp("run")
    record(folder, split, done=0, ranks=2, stop=6)
    record(folder, split, done=4, ranks=3, stop=8)
    record(folder, split, done=7, ranks=1, stop=10)
    checkpointed(folder, 10)
    return folder

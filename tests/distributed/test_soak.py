"""A short soak: see tests/soak.py."""

from pathlib import Path

import pytest

from tests.soak import soak
from tests.soak_rank import Run
from tests.stores import S3Server


@pytest.mark.store
@pytest.mark.world(2)
def test_nothing_is_lost_or_grows_on_a_store_that_fails(s3_server: S3Server, s3: str, tmp_path: Path) -> None:
    run = Run(s3, ranks=2, workers=2, batch=20, epochs=4)
    outcome = soak(s3_server, s3, [10] * 12, run, tmp_path, limit_s=200)
    assert outcome.problems == []
    assert outcome.samples == 480
    assert all(outcome.faults[kind] for kind in ("reset", "503", "hang"))

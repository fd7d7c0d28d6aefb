"""A store that is stopped for half a minute, in earnest, under those who use it."""

import os
import time
from collections.abc import Iterator

import pytest

from sharding import storage
from tests.outages import STEPS_IN_EPOCH, away, train
from tests.stores import BUCKET, S3Server, fresh_clients, seaweedfs

pytestmark = pytest.mark.store
AWAY_S = 30.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[S3Server]:
    """A store that no other test uses."""
    with seaweedfs() as server:
        yield server


@pytest.fixture
def own_store(own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in own_server.environment().items():
        monkeypatch.setenv(name, value)
    with fresh_clients():
        yield own_server


def test_a_reader_waits_for_its_store_and_reads_on(own_store: S3Server) -> None:
    url = f"s3://{BUCKET}/big"
    data = os.urandom(64 << 20)
    storage.write_bytes(url, data)
    with storage.open_read(url) as stream:
        assert stream.read(1 << 20) == data[: 1 << 20]
        start = time.monotonic()
        with away(own_store.program, AWAY_S):
            assert stream.read() == data[1 << 20 :]
        assert time.monotonic() - start > AWAY_S / 2  # else it had all bytes before


@pytest.mark.world(2)
def test_a_training_waits_for_its_store_and_its_audit_is_proven(own_store: S3Server) -> None:
    outcome = train(own_store.program, f"s3://{BUCKET}/training", epochs=3, outages=1, seconds=AWAY_S)
    assert outcome.status == 0, outcome.output
    assert outcome.proof.findings == []
    assert (outcome.proof.steps, outcome.proof.restarts) == (3 * STEPS_IN_EPOCH, [])

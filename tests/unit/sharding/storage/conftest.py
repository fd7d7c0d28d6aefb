"""What the tests of stores share: each cloud's server behind a proxy that does bad things to requests."""

import gc
import os
import re
from collections.abc import Callable, Iterator

import pytest

from sharding.storage import patience
from tests.faults import FaultProxy, fault_proxy
from tests.stores import fresh_clients

ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL_S3",
    "gs": "STORAGE_EMULATOR_HOST",
    "azure": "AZURE_STORAGE_CONNECTION_STRING",
}
PART = 5 << 20


class Clock:
    """Stands in for the module `time`: sleeping is what makes it go on, and takes no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.woken: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.woken()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(patience, "time", made)
    return made


@pytest.fixture(params=list(ENDPOINTS))
def proxied(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, FaultProxy]]:
    """An empty root of each store, reached through a proxy, with small parts and the real times."""
    root = request.getfixturevalue(request.param)
    variable = ENDPOINTS[request.param]
    found = re.search(r"127\.0\.0\.1:(\d+)", os.environ[variable])
    assert found
    monkeypatch.setattr(patience, "PART_BYTES", PART)
    monkeypatch.setattr(patience, "READ_CHUNK_BYTES", 1 << 20)
    with fault_proxy(int(found.group(1))) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        monkeypatch.setenv(variable, os.environ[variable].replace(found.group(0), address))
        with fresh_clients():
            yield root, proxy
    gc.collect()

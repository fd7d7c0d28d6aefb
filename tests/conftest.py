"""What every test may use. A missing outside program skips with a reason, or fails where CI demands it."""

import os

import pytest

# The object stores, each started once for all tests.
pytest_plugins = ["tests.stores"]


def need(condition: object, reason: str) -> None:
    """Skip the test with `reason` unless `condition`; where BLVNET_REQUIRE_ALL is set (CI), fail instead."""
    if condition:
        return
    if os.environ.get("BLVNET_REQUIRE_ALL"):
        pytest.fail(f"CI must run this test: {reason}")
    pytest.skip(reason)

"""What every test may use. A missing outside program skips with a reason, or fails where CI demands it."""

import os

# Before torch is imported, which reads it then: on a shared machine, threads that wait for each other take eight
# times as long, and results would depend on their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# No test is of time: others may use the machine.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what it is a part of
        return False


# The object stores, each started once for all tests. A machine for the tests of a GPU may have none of their clients.
_CLIENTS = ("boto3", "google.cloud.storage", "azure.storage.blob")
pytest_plugins = ["tests.stores"] if all(map(_is_there, _CLIENTS)) else []


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """A process takes a file of tests at a time, and one of them all files of the cluster's.

    Those want the machine's one SLURM and fixed names of hosts: two at once would wait for each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "tests/cluster" if nodeid.startswith("tests/cluster/") else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """The scheduler of tests that run in several processes."""
    return Scheduling(config, log)


_temporary = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the programs that tests start a temporary folder that goes with the tests: killed ones leave theirs."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # this process keeps its own
    folder = config.stash[_temporary] = Path(tempfile.mkdtemp(prefix="blvnet-"))
    os.environ["TMPDIR"] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    shutil.rmtree(config.stash[_temporary], ignore_errors=True)


def need(condition: object, reason: str) -> None:
    """Skip the test with `reason` unless `condition`; where BLVNET_REQUIRE_ALL is set (CI), fail instead."""
    if condition:
        return
    if os.environ.get("BLVNET_REQUIRE_ALL"):
        pytest.fail(f"CI must run this test: {reason}")
    pytest.skip(reason)

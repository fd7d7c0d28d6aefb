"""What several of the cluster's tests use."""

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, two_nodes, usable
from tests.conftest import need


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A real SLURM of two nodes, of the tests of one file."""
    need(usable(), "SLURM and munge are not installed, or this is not root")
    with two_nodes() as cluster:
        yield cluster

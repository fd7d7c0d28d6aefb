"""`blvnet-launch preflight` on a real SLURM of two nodes, one of which has one fault after the other."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import shards
from tests.cluster.slow_link import slow_link
from tests.cluster.slurm import Cluster
from tests.processes import ROOT
from tests.stores import S3Server, upload

pytestmark = pytest.mark.cluster

MINUTE_S = 60
"""That the nodes of a sound cluster are looked at in, as the documentation promises."""


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preflight")
    shards.make(folder / "shards", [14, 10])
    shards.make(folder / "shards", [4], split="validation")
    (folder / "run").mkdir()
    return folder


@dataclass(frozen=True)
class Ended:
    status: int
    output: str
    failing: list[str]
    seconds: float

    def row(self, check: str) -> str:
        """The line of the table that tells of it."""
        return next(line for line in self.output.splitlines() if line[6:].startswith(f"{check} "))

    def level(self, check: str) -> str:
        """Of that row."""
        return self.row(check)[:4]


def preflight(cluster: Cluster, folder: Path, fault: str = "", root: str = "shards") -> Ended:
    """Look at both nodes, of which n2 does what the bash lines of `fault` say before it starts its program."""
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    lines = f"[[ ${{SLURMD_NODENAME:-}} == n2 ]] && {{\n{fault}\n}}\n" if fault else ""
    python.write_text(f'#!/usr/bin/env bash\n{lines}exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    settings = [f"data.root={root}", f"run.folder={folder}/run", "data.workers=1", "data.size=64"]
    settings += ["model.num_frames=4", "optim.global_batch=8", "run.device=cpu", "data.short_side=64"]
    words = ["salloc", "--nodes=2", "--exclusive", "--quiet", "blvnet-launch", "preflight", "--nproc=1"]
    words += ["--config", str(ROOT / "configs/demo.yaml"), *settings]
    environment = {**cluster.environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"
    begun = time.monotonic()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    names = folder / "failing-nodes.txt"
    failing = names.read_text().split() if names.exists() else []
    return Ended(done.returncode, done.stdout + done.stderr, failing, time.monotonic() - begun)


def in_a_mount(command: str) -> str:
    """The rest in a mount namespace of its own, in which `command` was run."""
    return f'exec unshare --mount bash -c \'{command} && exec {sys.executable} "$@"\' _ "$@"'


def test_two_sound_nodes_pass_within_a_minute(cluster: Cluster, sharded: Path) -> None:
    ended = preflight(cluster, sharded)
    assert ended.status == 0, ended.output
    assert not ended.failing
    assert "right between 2 nodes" in ended.output
    assert ended.seconds < MINUTE_S, ended.output


OTHER_VERSION = """\
mkdir -p $PWD/other
echo "import sharding; sharding.__version__ = '0.1.9'" >$PWD/other/sitecustomize.py
export PYTHONPATH=$PWD/other:$PYTHONPATH"""
SLOW = """\
{executable} "$@" & program=$!
while kill -STOP $program 2>/dev/null; do sleep 0.09; kill -CONT $program; sleep 0.06; done
wait $program; exit"""


EMPTY, SMALL = "mount -t tmpfs none shards", "mount -t tmpfs -o size=64k none /dev/shm"
READ_ONLY = "mount --bind run run && mount -o remount,ro,bind run"


def test_a_node_with_faults_is_named_for_each(cluster: Cluster, sharded: Path) -> None:
    ended = preflight(
        cluster, sharded, f"{OTHER_VERSION}\n{in_a_mount(f'{EMPTY} && {READ_ONLY} && {SMALL}')}"
    )
    assert ended.status == 1, ended.output
    for check in ("shards", "run folder", "shared memory"):
        assert ended.row(check).startswith("fail") and "  n2: " in ended.row(check), ended.output
    assert ended.level("versions") == "fail", ended.output  # of two nodes, either may have the other's
    assert ended.level("answers") == ended.level("all-reduce") == "pass", ended.output
    assert "n2" in ended.failing, ended.output


def test_a_slow_processor_is_named(cluster: Cluster, sharded: Path) -> None:
    fault = f'if [[ "$*" == *"preflight node"* ]]; then\n{SLOW.format(executable=sys.executable)}\nfi'
    ended = preflight(cluster, sharded, fault)
    # It may be so slow that it does not even answer in time.
    assert "fail" in (ended.level("decoding"), ended.level("answers")), ended.output
    assert "n2" in ended.failing, ended.output


def test_a_node_that_nobody_reaches_is_found(cluster: Cluster, sharded: Path) -> None:
    # Its exchange has no network but an empty one of its own.
    fault = f'[[ "$*" == *exchange* ]] && exec unshare --net {sys.executable} "$@"'
    ended = preflight(cluster, sharded, fault)
    assert ended.status == 1, ended.output
    assert ended.level("all-reduce") == "fail", ended.output
    assert "n2" in ended.failing
    assert "frame #" not in ended.output


def test_a_slow_store_is_named(cluster: Cluster, sharded: Path, s3: str, s3_server: S3Server) -> None:
    for path in sorted((sharded / "shards").rglob("*.*")):
        upload(path, f"{s3}/shards/{path.relative_to(sharded / 'shards')}")
    with slow_link(int(s3_server.endpoint.rpartition(":")[2]), bytes_per_s=100_000) as port:
        fault = f"export AWS_ENDPOINT_URL_S3=http://127.0.0.1:{port}"
        ended = preflight(cluster, sharded, fault, f"{s3}/shards")
    assert ended.level("store") == "fail", ended.output
    assert ended.level("shards") == "pass", ended.output
    assert ended.failing == ["n2"], ended.output

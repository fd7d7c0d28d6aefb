"""`blvnet-launch preflight --hosts`: three hosts without a scheduler, of which one is cut off from the others."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import shards
from tests.cluster.hosts import HOSTS, network_of, usable
from tests.conftest import need
from tests.processes import ROOT, environment
from tests.unit.launch.stubs import stub

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_a_host_that_exchanges_with_nobody_is_found(tmp_path: Path) -> None:
    need(usable(), "iproute2 or util-linux is not installed, or this is not root")
    shards.make(tmp_path / "shards", [6])
    shards.make(tmp_path / "shards", [4], split="validation")
    words = [sys.executable, "-m", "launch.cli", "preflight", "--hosts", ",".join(HOSTS), "--nproc", "1"]
    words += [
        "--config",
        str(ROOT / "configs" / "demo.yaml"),
        f"data.root={tmp_path}/shards",
        f"run.folder={tmp_path}/run",
    ]
    with network_of(HOSTS, tmp_path) as network:
        # There is no ssh server here: the stand-in enters the host as the network's tests do.
        cases = [
            f'{host}) exec {shlex.join(network.command(host, ["bash", "-c"]))} "${{@: -1}}" ;;'
            for host in HOSTS
        ]
        stub(tmp_path / "bin", "ssh", "\n".join(['case "$5" in', *cases, "esac"]))
        path = f"{tmp_path}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

        def looked() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                words,
                cwd=tmp_path,
                env=environment({"PATH": path}),
                capture_output=True,
                text=True,
                timeout=280,
            )

        sound = looked()
        assert sound.returncode == 0, sound.stdout + sound.stderr
        assert "right between 3 nodes" in sound.stdout
        network.cable(HOSTS[0], "down")
        cut = looked()
    assert cut.returncode == 1, cut.stdout + cut.stderr
    assert f"fail  all-reduce     {HOSTS[0]}: exchanges nothing with the others" in cut.stdout
    assert f"--hosts {','.join(HOSTS[1:])}" in cut.stdout
    assert (tmp_path / "failing-nodes.txt").read_text() == f"{HOSTS[0]}\n"
    assert not cut.stderr, cut.stderr

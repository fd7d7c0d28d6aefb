"""A real SLURM cluster of two nodes on this machine, in a folder of its own, ended with the block."""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import kill_tree

_PR_SET_CHILD_SUBREAPER = 36
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# without cred_expire, a requeued job waits for two minutes
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
ReturnToService=2
SlurmdTimeout=10
KillWait=5
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=1:00:00 State=UP
"""


def usable() -> bool:
    """Whether this machine can run the cluster: Debian's SLURM and munge are installed, and we are root."""
    return os.geteuid() == 0 and all(shutil.which(daemon) for daemon in DAEMONS)


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its commands, run with its settings; its nodes' daemons."""

    folder: Path
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, node: str) -> None:
        """Start the node's daemon, as at the boot of its machine."""
        self.nodes[node] = launched(self, "slurmd", "-D", "-N", node)

    def lose(self, node: str) -> None:
        """SIGKILL to the node's daemon and all that it started: as when the machine is gone."""
        kill_tree(self.nodes.pop(node))

    def close(self) -> None:
        """End the nodes' daemons."""
        for process in self.nodes.values():
            end(process)

    @property
    def environment(self) -> dict[str, str]:
        """What makes SLURM's commands speak to this cluster, and its jobs find this environment's programs."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """The output of one of SLURM's commands; an error if it fails."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` knows, by field."""
        words = self.run("scontrol", "show", "job", "--oneliner", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(
        self, condition: Callable[[], bool], seconds: float, what: str, log: Path | None = None
    ) -> None:
        """Poll until `condition` holds; fails after `seconds`, showing the daemons' logs and the job's `log`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                output = log.read_text() if log and log.exists() else ""
                raise AssertionError(f"not in {seconds} s: {what}\n{self.state()}\n{output}")
            time.sleep(0.2)

    def state(self) -> str:
        """Nodes, jobs and the ends of the daemons' logs, for a failure's message."""
        lines = [self.run("sinfo", "--long", "--Node"), self.run("squeue", "--long")]
        for log in sorted(self.folder.glob("*.log")):
            lines += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-8:]]
        return "\n".join(lines)

    def wait_for_end(self, number: str, seconds: float, log: Path) -> str:
        """The state that the job ended in."""
        going_on = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"}
        self.wait_for(
            lambda: self.job(number)["JobState"] not in going_on, seconds, f"end of job {number}", log
        )
        return self.job(number)["JobState"]


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Start the cluster with nodes n1 and n2 idle; afterwards cancel its jobs, end its daemons, remove its folder."""
    with ExitStack() as stack:
        # a short path: a socket's may have 107 letters
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm.", dir="/tmp")))
        cluster = Cluster(folder)
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        text = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], ports=free_ports(3), folder=folder
        )
        (folder / "slurm.conf").write_text(text)
        munge = [
            f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file")
        ]
        munge += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
        stack.enter_context(daemon(cluster, "munged", "--foreground", "--force", *munge))
        cluster.wait_for((folder / "munge.socket").exists, 10, "munged")
        stack.enter_context(daemon(cluster, "slurmctld", "-D", "-c"))
        stack.callback(cluster.close)
        for node in ("n1", "n2"):
            cluster.start(node)
        cluster.wait_for(lambda: idle_nodes(cluster) == {"n1", "n2"}, 30, "two idle nodes")
        try:
            yield cluster
        finally:
            cluster.run("scancel", "--user=root", "--full")
            cluster.wait_for(lambda: not cluster.run("squeue", "-h").strip(), 30, "an empty queue")


def idle_nodes(cluster: Cluster) -> set[str]:
    """Names of the nodes that wait for work."""
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%N %t"],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" idle")}


@contextmanager
def daemon(cluster: Cluster, *command: str) -> Iterator[None]:
    """Run a daemon in the foreground of its own process; end it with the block."""
    process = launched(cluster, *command)
    try:
        yield
    finally:
        end(process)


def launched(cluster: Cluster, *command: str) -> subprocess.Popen[bytes]:
    """A daemon in the foreground, of which all that it starts descends, though SLURM's steps leave their parents."""
    with (cluster.folder / f"{command[0]}.{command[-1].strip('-')[:2]}.out").open("ab") as log:
        return subprocess.Popen(
            command, env=cluster.environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_adopt
        )


def _adopt() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a daemon in good order, or else by force."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on, below those that outgoing connections are given.

    Where the search begins depends on the process, so that tests that run at once do not take the same ones.
    """
    ports: list[int] = []
    for port in range(15000 + os.getpid() % 400 * 10, 20000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError("no free port below 20000")

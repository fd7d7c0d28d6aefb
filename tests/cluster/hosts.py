"""Hosts on this machine: network namespaces with a bridge between them, each with a host name of its own."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BRIDGE = "blvbr"
ADDRESSES = {"blvh1": "10.77.0.1", "blvh2": "10.77.0.2", "blvh3": "10.77.0.3"}
HOSTS = list(ADDRESSES)


def usable() -> bool:
    """Whether this machine can have the hosts: iproute2 and util-linux are installed, and we are root."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in ("ip", "nsenter", "unshare"))


@dataclass(frozen=True)
class Network:
    """Hosts that reach each other by name."""

    hosts_file: Path

    def command(self, host: str, command: list[str]) -> list[str]:
        """`command` as it is run on `host`."""
        inside = f'hostname {host} && mount --bind {self.hosts_file} /etc/hosts && exec "$@"'
        enter = [
            "nsenter",
            f"--net=/run/netns/{host}",
            "unshare",
            "--uts",
            "--mount",
            "--propagation=private",
        ]
        return [*enter, "bash", "-c", inside, "_", *command]

    def cable(self, host: str, state: str) -> None:
        """Plug the host's cable in ("up") or pull it ("down")."""
        _ip(f"link set {host}p {state}")

    def limit(self, host: str, mbit: int) -> None:
        """Let no more than `mbit` Mbit/s out of the host, and into it."""
        rate = f"root tbf rate {mbit}mbit burst 256k latency 50ms"
        for tc in (f"tc -n {host} qdisc replace dev eth0 {rate}", f"tc qdisc replace dev {host}p {rate}"):
            done = subprocess.run(tc.split(), capture_output=True, text=True)
            assert done.returncode == 0, f"{tc}: {done.stderr}"


@contextmanager
def _alone() -> Iterator[None]:
    """The hosts' names are fixed: one test at a time has them, in whichever process it runs."""
    folder = os.open("/run", os.O_RDONLY)  # a lock that leaves no file
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def network_of(hosts: list[str], folder: Path) -> Iterator[Network]:
    """Make the hosts, some of `HOSTS`; afterwards remove every trace of them."""
    with _alone():
        hosts_file = folder / "hosts"
        names = [("127.0.0.1", "localhost"), *((ADDRESSES[host], host) for host in hosts)]
        hosts_file.write_text("".join(f"{address} {name}\n" for address, name in names))
        _remove()  # what a killed test may have left
        try:
            _ip(f"link add {BRIDGE} type bridge")
            _ip(f"link set {BRIDGE} up")
            for host in hosts:
                _ip(f"netns add {host}")
                _ip(f"link add {host}p type veth peer name eth0 netns {host}")
                _ip(f"link set {host}p master {BRIDGE} up")
                _ip(f"-n {host} addr add {ADDRESSES[host]}/24 dev eth0")
                _ip(f"-n {host} link set eth0 up")
                _ip(f"-n {host} link set lo up")
            yield Network(hosts_file)
        finally:
            _remove()


def _remove() -> None:
    for host in HOSTS:
        subprocess.run(["ip", "netns", "del", host], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{host}p"], capture_output=True)
    subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


def _ip(words: str) -> None:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {words}: {done.stderr}"

"""A run folder belongs to one run at a time; nothing stays behind that a person would have to remove.

`owner.json` in the folder names the run: its token, its host and process, and a count that its main process raises
every `BEAT_S` seconds. A second run watches the count. While it moves, the folder is taken. Where it stands still for
`LEASE_S`, or the process is known to be dead, the second run takes over. The first one, should it come back (a machine
that was frozen, a network that was cut), finds another token and ends before it writes: it looks again before each
write when its last look is older than `TRUST_S`, which is less than the lease.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sharding import storage
from sharding.errors import UserError

if TYPE_CHECKING:  # which would import torch
    from pipeline.ranks.distributed import World

BEAT_S = 10.0
TRUST_S = 30.0
LEASE_S = 60.0
_LOOK_S = 1.0
_LONG_DEAD_S = 3600.0
"""However wrong two hosts' clocks are, they are not that wrong."""


@dataclass(frozen=True)
class Record:
    """What `owner.json` says. `machine` and `process` tell whether a process of this machine still lives.

    `job` is SLURM's: its ranks, started again on another host, are the same run.
    """

    token: str
    job: str
    host: str
    pid: int
    machine: str
    process: str
    beat: int
    time: float


@dataclass(frozen=True)
class Life:
    """Of a run that has not given its folder back: whether it is known to be dead, and how long ago it wrote, in s.

    By this host's clock: a run that is silent for longer than the lease is dead, or its host's clock is another.
    """

    dead: bool
    silent_s: float


class LostFolderError(UserError):
    """The folder is another run's by now."""


class Owner:
    """This run's hold on its folder, from `claim` to `release`. The main process beats; every process may `check`."""

    def __init__(self, folder: str, token: str) -> None:
        self._url = _url(folder)
        self._folder, self._token = folder, token
        self._looked = _now()
        self._beats: threading.Thread | None = None
        self._over = threading.Event()

    @property
    def token(self) -> str:
        """What tells this run from others; the main process's is every rank's."""
        return self._token

    def beat(self) -> None:
        """Begin to beat, in a thread; the main process does."""
        self._beats = threading.Thread(target=self._beat, daemon=True, name="owner")
        self._beats.start()

    def check(self) -> None:
        """Raise `LostFolderError` where this run is not to write any more; `UserError` where that cannot be known."""
        if _now() - self._looked > TRUST_S:
            self._look()

    def release(self) -> None:
        """The folder is nobody's from now on, unless another run has it already."""
        self._over.set()
        if self._beats is not None:
            self._beats.join()
            self._beats = None
            with contextlib.suppress(
                UserError
            ):  # the store is away: the process will be dead, and known to be
                found = _read(self._url)
                if found is not None and found.token == self._token:
                    storage.remove(self._url)

    def _look(self) -> None:
        at = _now()
        found = _read(self._url)
        if found is None or found.token != self._token:
            who = "another run" if found is None else f"a run of host {found.host} (process {found.pid})"
            raise LostFolderError(
                f"{self._folder}: {who} has taken this run's folder over; this one ends without writing"
            )
        self._looked = at

    def _beat(self) -> None:
        beat = 0
        while not self._over.wait(BEAT_S):
            beat += 1
            try:
                self._look()
                storage.write_bytes(self._url, _encoded(_mine(self._token, beat)))
            except UserError:
                # The store is away, or the folder another run's: `check` says so where something is to be written.
                continue


def claim(folder: str) -> Owner:
    """Take the run folder for this run; the main process calls it, before it reads or writes anything else there.

    Waits up to `LEASE_S` to see whether the run that wrote there last is alive. Raises `UserError` where it is.
    """
    url = _url(folder)
    found = _read(url)
    if found is not None and not _is_dead(found):
        _watch(folder, url, found)
    token = secrets.token_hex(8)
    storage.write_bytes(url, _encoded(_mine(token, 0)))
    now = _read(url)
    if now is None or now.token != token:
        raise UserError(
            f"{folder}: another run was started in this folder at the same moment; use another run.folder"
        )
    return Owner(folder, token)


def life(folder: str) -> Life | None:
    """What the run folder tells of the run that holds it; None where no run does."""
    found = _read(_url(folder))
    return None if found is None else Life(_is_gone(found), max(0.0, time.time() - found.time))


@contextlib.contextmanager
def owned(folder: str, world: "World") -> Iterator[Owner]:
    """The run folder, held by this run within the block; every rank enters it."""
    owner = claim(folder) if world.main else None
    token = world.share(owner.token if owner else "")
    mine = owner or Owner(folder, token)
    if owner:
        owner.beat()
    try:
        yield mine
    finally:
        mine.release()


def _watch(folder: str, url: str, found: Record) -> None:
    """Return once the run of `found` is dead; raise `UserError` once it has shown that it lives."""
    who = f"a run of host {found.host} (process {found.pid})"
    ago = max(0, round(time.time() - found.time))
    print(
        f"{folder}: {who} wrote here {ago} s ago; waiting up to {LEASE_S:.0f} s to see whether it lives",
        flush=True,
    )
    deadline = _now() + LEASE_S
    while _now() < deadline:
        time.sleep(_LOOK_S)
        seen = _read(url)
        if seen is None or (seen.token == found.token and _is_dead(seen)):
            return
        if (seen.token, seen.beat) != (found.token, found.beat):
            ago = max(0, round(time.time() - seen.time))
            raise UserError(
                f"{folder}: a run of host {seen.host} (process {seen.pid}) wrote here {ago} s ago; stop it first, or "
                "use another run.folder"
            )


def _is_dead(record: Record) -> bool:
    """Whether it is known at once that this run writes no more."""
    mine = _mine("", 0)
    if record.job and record.job == mine.job:
        return True  # this process was started in its place
    return _is_gone(record)


def _is_gone(record: Record) -> bool:
    """Whether its process ended, or has not beaten for so long that no clock explains it."""
    if record.machine == _machine() and _process(record.pid) != record.process:
        return True
    return time.time() - record.time > _LONG_DEAD_S


def _mine(token: str, beat: int) -> Record:
    pid = os.getpid()
    step = [os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")]
    job = ".".join(step) if all(step) else ""
    return Record(token, job, socket.gethostname(), pid, _machine(), _process(pid), beat, time.time())


def _machine() -> str:
    """Where process numbers mean the same: one boot of one kernel, and one container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _process(pid: int) -> str:
    """What tells a process from a later one of the same number; empty for a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # its start, in ticks since boot


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _read(url: str) -> Record | None:
    """What is on record; None where nothing is, or what a killed write has left of it."""
    if not storage.exists(url):
        return None
    try:
        return Record(**json.loads(storage.read_bytes(url)))
    except (ValueError, TypeError):
        return None


def _encoded(record: Record) -> bytes:
    return json.dumps(asdict(record)).encode()


def _url(folder: str) -> str:
    return storage.join(folder, "owner.json")

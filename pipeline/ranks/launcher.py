"""A rank and the launcher that started it (torchrun, `pipeline.agent`): one does not outlive the other. No torch.

`pipeline.agent` gives its ranks a folder, in which each writes that it has started and how it ended: torchrun does not
tell that of ranks that were told to stop.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = "BLVNET_LAUNCHER_FOLDER"
PROCESS = "BLVNET_LAUNCHER_PROCESS"
"""Its number, for ranks that it does not live to see begin: they have another parent by then."""
HOSTS = "BLVNET_LAUNCHER_HOSTS"
"""MIN:MAX, where hosts may come and go."""
_START = "BLVNET_LAUNCHER_START"
"""How often it has started its ranks: torchrun does not count those after hosts came."""
_REGROUP = "regroup"
_POLL_S = 0.5
_STARTED = "started"


@dataclass(frozen=True)
class Ending:
    """How a rank of this machine ended: its status, or None where it did not come to say so."""

    local_rank: int
    pid: int
    status: int | None


def is_rank() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main() -> bool:
    """Whether this process is rank 0, or was started alone."""
    return int(os.environ.get("RANK", 0)) == 0


def follow() -> None:
    """End this process when its launcher is gone, however that ended; a program that was started alone has none.

    Of torchrun itself the number is not told: a rank that begins after its end does not know of it.
    """
    if is_rank():
        threading.Thread(target=_end_after, args=(_launcher(),), daemon=True, name="launcher").start()


def started() -> None:
    """Say that this rank has started."""
    _say(_STARTED)


def ended(status: int) -> None:
    """Say how this rank ends."""
    _say(str(status))


def stop_all() -> None:
    """Stop this machine's launcher too, if it was given restarts: it would take the end of its ranks for a failure."""
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(_launcher(), signal.SIGTERM)


def regroup(folder: Path) -> None:
    """Of the ranks that are told to stop from now on, say that it is for hosts that come or go; the launcher's side."""
    (folder / _REGROUP).touch()


def regrouping() -> bool:
    """Whether this machine's ranks are told to stop for hosts that come or go: the run goes on at once."""
    folder = os.environ.get(FOLDER)
    return folder is not None and (Path(folder) / _REGROUP).exists()


def begin_start(folder: Path, number: int) -> None:
    """Ranks are about to be started; `number` is higher than those before. The launcher's side."""
    os.environ[_START] = str(number)
    (folder / _REGROUP).unlink(missing_ok=True)


def running(folder: Path) -> list[int]:
    """The process numbers of the ranks that were started last and have not ended; the launcher's side."""
    return [end.pid for end in endings(folder) if end.status is None and Path(f"/proc/{end.pid}").exists()]


def end_ranks(folder: Path, number: signal.Signals) -> None:
    """Send a signal to those that are `running`."""
    for pid in running(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def world_sizes() -> range:
    """Every number of ranks that the run may come to have as its hosts come and go; none where they do not."""
    if HOSTS not in os.environ:
        return range(0)
    fewest, most = map(int, os.environ[HOSTS].split(":"))
    each = int(os.environ["LOCAL_WORLD_SIZE"])
    return range(fewest * each, most * each + 1, each)


def _launcher() -> int:
    """The launcher's number. Where it is gone, this process's parent is another."""
    return int(os.environ.get(PROCESS) or os.getppid())


def endings(folder: Path) -> Iterator[Ending]:
    """What the ranks that were started last have said in `folder`; the launcher's side."""
    attempts: dict[int, list[Ending]] = {}
    for path in sorted(folder.glob("*-*-*")):
        attempt, local_rank, pid = map(int, path.name.split("-"))
        text = path.read_text()
        status = int(text) if text.isdecimal() else None
        attempts.setdefault(attempt, []).append(Ending(local_rank, pid, status))
    yield from attempts.get(max(attempts, default=0), [])


def _say(text: str) -> None:
    if folder := os.environ.get(FOLDER):
        attempt = os.environ.get(_START) or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        rank = os.environ.get("LOCAL_RANK", "0")
        path = Path(folder) / f"{attempt}-{rank}-{os.getpid()}"
        if path.parent.is_dir():  # else the launcher is gone
            path.write_text(text)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)

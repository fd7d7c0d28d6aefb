"""torchrun that ends as its ranks ended: with their exit status, and without a traceback of its own.

    python -m pipeline.agent --standalone --nproc-per-node 2 -m pipeline.train --config ...

A rank that fails has said why. torchrun would add its own stack and the status 1, whatever the reason. Told to stop (by
Ctrl-C too), the agent passes that on once, waits for the ranks' checkpoint, and ends with status 75 where all of them
ended so.

With `--nnodes=MIN:MAX` hosts may come and go (`pipeline.ranks.elastic`). SIGTERM to an agent is then for its host
alone, unless it is the one that the others meet at: the ranks write a checkpoint, and the other hosts go on.
"""

import os

from pipeline.ranks import signals

if __name__ == "__main__":
    signals.note()  # from here on, whatever is still to be imported
    # A rank that ends is told of below, not by the stacks of those that were connected to it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import argparse
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import api
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousError,
    rendezvous_handler_registry,
)

from pipeline.ranks import launcher
from pipeline.ranks.elastic import BACKEND, AbsentError, Elastic
from sharding.errors import MISTAKE, UNREACHABLE, UserError

_NOBODY_SENDS = "SIGURG"


def main() -> int:
    """torchrun's command line. Returns the status of the rank that failed first, 128 + n for signal n.

    Told to stop itself, it returns 75 where every rank that had started ended with that.
    """
    # Told, torchrun prints no warning about its own choice of it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The handlers are this program's: torchrun's would take a second signal for a reason not to wait for the ranks.
    os.environ["PET_SIGNALS_TO_HANDLE"] = _NOBODY_SENDS
    # Started again, a process must not find the addresses of those before it (pytorch issue 135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    # Which rank failed, and that all were told to stop, is said below.
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="blvnet-agent-"))
    os.environ[launcher.FOLDER], os.environ[launcher.PROCESS] = str(folder), str(os.getpid())
    # Where torchrun keeps a folder for each start, which it would leave behind, unless logs are wanted in it.
    if not any(word.startswith(("-r", "-t", "--redirects", "--tee")) for word in sys.argv[1:]):
        os.environ.setdefault("PET_LOG_DIR", str(folder / "logs"))
    try:
        return _run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path) -> int:
    elastic = Elastic(folder)
    stop = _Stop(folder, elastic)
    try:
        stop.obey()
        run.run(_arguments(elastic))  # type: ignore[no-untyped-call]
    except api.SignalException:
        elastic.leave()
        return _stopped(folder, stop.number)
    except ChildFailedError as error:
        return _failed(*error.get_first_failure())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except AbsentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except RendezvousError as error:
        # Most often the launcher that the others meet at has ended, for the same reason as the ranks here.
        for status in (MISTAKE, UNREACHABLE, signals.STATUS):
            if any(ending.status == status for ending in launcher.endings(folder)):
                return status
        first_line = str(error).partition("\n")[0]
        if isinstance(error, RendezvousConnectionError):  # torch's words say nothing
            first_line = "the first one, where all meet, has ended, or the network is cut"
        print(f"error: the launchers of the other hosts cannot be reached: {first_line}", file=sys.stderr)
        return 1
    return 0


def _arguments(elastic: Elastic) -> argparse.Namespace:
    """torchrun's; several hosts meet in our way."""
    args: argparse.Namespace = run.parse_args(sys.argv[1:])  # type: ignore[no-untyped-call]
    fewest, most = _sizes(args.nnodes, args.nproc_per_node)
    if most > 1 and args.rdzv_backend == "c10d" and not args.standalone:
        if fewest < most:
            os.environ[launcher.HOSTS] = f"{fewest}:{most}"
        rendezvous_handler_registry.register(BACKEND, elastic.create)
        args.rdzv_backend = BACKEND
    return args


def _sizes(nodes: str, processes: str) -> tuple[int, int]:
    """The fewest and the most hosts. `UserError` where torchrun would end with its stack."""
    try:
        fewest, most = run.parse_min_max_nnodes(nodes)
    except (ValueError, RuntimeError):
        fewest, most = 0, 0
    if not 0 < fewest <= most:
        raise UserError(f"--nnodes={nodes}: write the number of hosts, or the fewest and the most, as in 2:4")
    try:
        here = run.determine_local_world_size(processes)
    except ValueError as error:
        why = str(error).rstrip(".")
        raise UserError(f"--nproc-per-node={processes}: {why}; give a number of processes") from None
    if here < 1:
        raise UserError(f"--nproc-per-node={processes}: give a number of processes, at least 1")
    return fewest, most


class _Stop:
    """What a signal does: the first one ends torchrun, which passes SIGTERM on; a second Ctrl-C kills the ranks."""

    def __init__(self, folder: Path, elastic: Elastic) -> None:
        self._folder, self._elastic = folder, elastic
        self.number = signal.SIGTERM

    def obey(self) -> None:
        """From here on; what was noted before counts now."""
        self._first = True
        for number in signals.STOP:
            signal.signal(number, self._obey)
        if signals.told():
            self._obey(signal.SIGTERM, None)

    def _obey(self, number: int, frame: FrameType | None) -> None:
        if self._first:
            self._first, self.number = False, signal.Signals(number)
            if number == signal.SIGTERM and self._elastic.may_leave():
                launcher.regroup(self._folder)
            # SIGTERM, whatever it was: a rank may have got the terminal's SIGINT itself already.
            raise api.SignalException(f"told to stop by {self.number.name}", signal.SIGTERM)
        if number == signal.SIGINT:
            for ending in launcher.endings(self._folder):
                if ending.status is None:
                    os.kill(ending.pid, signal.SIGKILL)
            os.write(2, b"interrupted again: the ranks were killed\n")
            shutil.rmtree(self._folder, ignore_errors=True)
            os._exit(signals.INTERRUPTED)


def _stopped(folder: Path, number: signal.Signals) -> int:
    """The status after `number`: what the ranks made of it."""
    endings = list(launcher.endings(folder))
    if any(ending.status == MISTAKE for ending in endings):
        return MISTAKE
    if not endings:
        print("stopped as told before a rank had started: nothing to save", file=sys.stderr)
        return signals.STATUS
    if all(ending.status == 0 for ending in endings):
        return 0  # it was at its end
    other = [ending for ending in endings if ending.status != signals.STATUS]
    for ending in other[:1]:
        how = "was killed" if ending.status is None else f"ended with status {ending.status}"
        who = f"rank {ending.local_rank} of this host (process {ending.pid})"
        print(f"error: stopped by {number.name}, but {who} {how} before it had saved", file=sys.stderr)
    if not other:
        return signals.STATUS
    return other[0].status or 128 + number


def _failed(rank: int, failure: ProcessFailure) -> int:
    """The status of the `failure` of a rank, which is said unless the rank has."""
    if failure.exitcode >= 0:
        how, status = f"with status {failure.exitcode}", failure.exitcode
    else:
        how, status = f"by {signal.Signals(-failure.exitcode).name}", 128 - failure.exitcode
    if status not in (MISTAKE, UNREACHABLE, signals.STATUS):
        print(
            f"error: rank {rank} (process {failure.pid}) ended {how}; the others were stopped",
            file=sys.stderr,
        )
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Being told to stop: by a signal to any rank, obeyed by all ranks at the same step."""

import os
import signal
from types import FrameType, TracebackType

from pipeline.ranks.distributed import Vote, World

STATUS = 75  # EX_TEMPFAIL of sysexits.h: not finished, to be started again

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send before they take a machine away, and what torchrun passes on."""


class Preempted(Exception):  # noqa: N818 - a fact about the run, not an error of the program
    """The run was told to stop before its end. The text says where it will go on."""


class Preemption:
    """Notes the signals while it is entered; `agreed` is the ranks' common answer.

    The handler only takes a note: a step, an evaluation or the writing of a checkpoint is never torn apart.
    """

    def __init__(self, world: World) -> None:
        self._told = False
        self._world = world
        self._vote = Vote(world)

    def agreed(self) -> bool:
        """Whether to stop now, the same on every rank: each must call it equally often, once a step or batch."""
        return self._vote.cast(self._told)

    def check(self) -> None:
        """Raise `Preempted` where `agreed`."""
        if self.agreed():
            raise Preempted("stopped in an evaluation as told; start again to go on")

    def __enter__(self) -> "Preemption":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Preempted):
            self._vote.close()
        if isinstance(error, Preempted):
            _tell_launcher()
            self._world.wait()  # before any process ends, every launcher knows
            return  # ending with a status of its own: torchrun, seeing another rank end, may send one more signal
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._told = True


def _tell_launcher() -> None:
    """Stop this machine's torchrun too, if it was given restarts.

    One that was not told itself would take the end of its processes for a failure, and start them again.
    """
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) and os.environ["LOCAL_RANK"] == "0":
        os.kill(os.getppid(), signal.SIGTERM)

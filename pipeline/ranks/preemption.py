"""Being told to stop: by a signal to any rank, obeyed by all ranks at the same step."""

from types import TracebackType

from pipeline.ranks import launcher, signals
from pipeline.ranks.distributed import Vote, World


class Preempted(Exception):  # noqa: N818 - a fact about the run, not an error of the program
    """The run was told to stop before its end. The text says where it will go on; the rank that `says` it prints it."""

    def __init__(self, text: str, says: bool) -> None:
        super().__init__(text)
        self.says = says


class Preemption:
    """The ranks' common answer to what `signals` has noted on any of them, while it is entered.

    A step, an evaluation or the writing of a checkpoint is never torn apart.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._vote = Vote(world)

    def agreed(self) -> bool:
        """Whether to stop now, the same on every rank: each must call it equally often, once a step or batch."""
        return self._vote.cast(signals.told())

    def check(self, text: str) -> None:
        """Raise `Preempted` with `text` where `agreed`."""
        if self.agreed():
            raise self.preempted(text)

    def check_at_start(self) -> None:
        """Raise `Preempted` where any rank was told to stop by now; nothing is trained yet that could be saved."""
        if self._world.any(signals.told()):
            raise self.preempted(
                "stopped as told before a step was trained: nothing to save; start again to go on"
            )

    def preempted(self, text: str) -> Preempted:
        """What ends this rank."""
        return Preempted(text, says=self._world.main)

    def __enter__(self) -> "Preemption":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Preempted):
            self._vote.close()
        if isinstance(error, Preempted):
            # Where no rank was told by more than hosts that come or go, the launchers start their ranks again.
            if self._world.any(signals.told() and not launcher.regrouping()):
                launcher.stop_all()  # one that was not told itself would start its ranks again, too
            else:
                error.says = False  # the launchers do
            self._world.wait()  # before any process ends, every launcher knows

"""What is written to the run folder beside training: by one thread, in order, and again where the store is away."""

import sys
import threading
import time
from collections.abc import Callable

from pipeline.run.owner import LostFolderError
from sharding.errors import UserError

PAUSE_S = 30.0
"""Between two tries; each has the store's own patience."""

Work = Callable[[], None]


class Uploads:
    """Works that write, by name: a newer one of a name takes the place of an older one that waits.

    `guard` is called before each and may raise. What fails is said once and tried again, until a work succeeds or
    `patience_s` have passed without: then `check` raises.
    """

    def __init__(self, patience_s: float, guard: Callable[[], None]) -> None:
        self._patience_s, self._guard = patience_s, guard
        self._waiting: dict[str, Work] = {}
        self._failing: tuple[float, UserError] | None = None  # since when, and the last error
        self._fatal: BaseException | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name="uploads")
        self._thread.start()

    def submit(self, name: str, work: Work) -> None:
        """Have `work` done after all that waits."""
        with self._changed:
            self._waiting.pop(name, None)
            self._waiting[name] = work
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what ended the thread, and `UserError` where patience is at its end."""
        with self._changed:
            if self._fatal is not None:
                raise self._fatal
            if self._failing is not None and time.monotonic() - self._failing[0] > self._patience_s:
                raise UserError(
                    f"{self._failing[1]}; nothing could be written to the run folder for "
                    f"{self._patience_s / 60:g} minutes (run.checkpoint_patience_minutes)"
                )

    def close(self) -> None:
        """Do all that waits, now, and end the thread. Raises `UserError` where that fails."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._fatal is not None:
            raise self._fatal
        if self._failing is not None:
            raise UserError(f"{self._failing[1]}; what is newer than the last checkpoint is lost")

    def _run(self) -> None:
        try:
            while (taken := self._take()) is not None:
                last_try = self._closing
                if not self._succeeded(*taken) and last_try:
                    return
        except BaseException as error:
            self._fatal = error

    def _take(self) -> tuple[str, Work] | None:
        """The work that has waited longest; None when there is nothing left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            name = next(iter(self._waiting))
            return name, self._waiting.pop(name)

    def _succeeded(self, name: str, work: Work) -> bool:
        try:
            self._guard()
            work()
        except LostFolderError:
            raise
        except UserError as error:
            self._failed(name, work, error)
            return False
        with self._changed:
            if self._failing is not None:
                _say(
                    f"the run folder can be written again, after {time.monotonic() - self._failing[0]:.0f} s"
                )
            self._failing = None
        return True

    def _failed(self, name: str, work: Work, error: UserError) -> None:
        """Keep `work` for another try, unless there is a newer one of its name, and wait."""
        with self._changed:
            if name not in self._waiting:
                self._waiting = {name: work, **self._waiting}
            if self._failing is None:
                _say(
                    f"warning: {error}; training goes on, and it is tried again for {self._patience_s / 60:g} minutes "
                    "(run.checkpoint_patience_minutes)"
                )
            self._failing = (self._failing[0] if self._failing else time.monotonic()), error
            self._changed.wait_for(lambda: self._closing, PAUSE_S)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

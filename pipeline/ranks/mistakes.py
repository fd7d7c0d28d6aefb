"""A mistake that one rank has met ends all ranks, on all hosts, in one line: the rank that met it first says it.

The word goes through the store that the ranks met at. A rank that waits for the others in an exchange cannot hear it
there, so a thread listens.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

_KEY, _HEARD = "blvnet/mistake", "blvnet/heard"
_POLL_S = 1.0
_LEAVE_S = 3.0
"""A rank that has heard of a mistake may be about to meet it itself, and to end in good order."""
_FAREWELL_S = 10.0
"""How long the rank with the mistake waits for the others to hear: the store may live in its process."""


class ToldElsewhere(Exception):  # noqa: N818 - nothing is left to say
    """Another rank has met a mistake and says so; this one ends without a word, with the same `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Mistakes:
    """One rank's mouth and ear; every rank of a group of several has one.

    `leave` ends the process, which may be stuck in an exchange, when another rank has met a mistake.
    """

    def __init__(self, rank: int, ranks: int, leave: Callable[[int], None]) -> None:
        self._rank, self._ranks, self._leave = rank, ranks, leave
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        timeout = timedelta(seconds=30)
        self._store = dist.TCPStore(  # type: ignore[attr-defined]
            host, port, is_master=False, wait_for_workers=False, timeout=timeout
        )
        self._heard: int | None = None  # the status that the other rank ends with
        self._closed = threading.Event()
        self._once = threading.Lock()
        threading.Thread(target=self._listen, daemon=True, name="mistakes").start()

    def tell(self, status: int) -> bool:
        """A mistake was met here, which ends this rank with `status`; returns whether it is the first, to say it."""
        mine = f"{self._rank} {status}"
        try:
            first = self._store.compare_set(_KEY, "", mine).decode()
            if first != mine:
                self._hear(first)
                return False
            self._closed.set()
            deadline = time.monotonic() + _FAREWELL_S
            while self._store.add(_HEARD, 0) < self._ranks - 1 and time.monotonic() < deadline:
                time.sleep(0.1)
        except RuntimeError:  # the store has gone with the rank that it lived in
            return self._heard is None
        return True

    def told(self) -> int | None:
        """The status of another rank that has met a mistake; None where none has."""
        if self._heard is None:
            with contextlib.suppress(RuntimeError):  # the store has gone with the rank that it lived in
                if self._store.check([_KEY]):
                    self._hear(self._store.get(_KEY).decode())
        return self._heard

    def close(self) -> None:
        """Listen no longer."""
        self._closed.set()

    def _listen(self) -> None:
        while not self._closed.wait(_POLL_S):
            if (status := self.told()) is not None:
                if not self._closed.wait(_LEAVE_S):
                    self._leave(status)
                return

    def _hear(self, told: str) -> None:
        """Once: this rank knows."""
        with self._once:
            if self._heard is None:
                self._store.add(_HEARD, 1)
                self._heard = int(told.split()[1])

"""Waiting for other hosts: for whom is said meanwhile, and signals are obeyed, as they are not inside of torch."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

_TOLD_EVERY_S = 30.0
_ASKED_EVERY_S = 1.0
_ANSWER_S = 5.0


@contextlib.contextmanager
def told(missing: Callable[[], str]) -> Iterator[None]:
    """Within the block, say every half a minute what `missing` says, which is asked every second."""
    over = threading.Event()

    def tell() -> None:
        since = last = time.monotonic()
        while not over.wait(_ASKED_EVERY_S):
            text, now = missing(), time.monotonic()
            if now - last >= _TOLD_EVERY_S:
                last = now
                say(f"waiting for {now - since:.0f} s: {text}")

    threading.Thread(target=tell, daemon=True, name="waiting").start()
    try:
        yield
    finally:
        over.set()


def answers(host: str, port: int, patience_s: float) -> bool:
    """Whether somebody listens there within so many seconds; returns as soon as it is so."""
    deadline = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(OSError):  # of its name, too: that may come to be known
            socket.create_connection((host, port), timeout=_ANSWER_S).close()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(1.0)


def say(text: str) -> None:
    """To the user, apart from what is printed."""
    print(text, file=sys.stderr, flush=True)

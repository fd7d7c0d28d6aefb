"""A line to a store that gives all answers together so many MB/s, and counts them: a proxy in a process of its own."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from tests.faults import fault_proxy

_HOW_MANY = "bytes"


class Line:
    """The proxy, at `port` of this machine, in process `pid`."""

    def __init__(self, pid: int, told: Connection) -> None:
        self.pid, self._told = pid, told
        self.port: int = told.recv()

    def limit(self, mb_s: float | None) -> None:
        """Give all answers together so many MB/s; None: no limit."""
        self._told.send(mb_s)

    def bytes(self) -> int:
        """How many were answered so far."""
        self._told.send(_HOW_MANY)
        return int(self._told.recv())


@contextmanager
def line(upstream: int) -> Iterator[Line]:
    """A line to the local port `upstream`, without a limit."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(upstream, there))
    process.start()
    there.close()
    try:
        yield Line(process.pid or 0, here)
    finally:
        here.close()
        process.join()


def _serve(upstream: int, told: Connection) -> None:
    """Until the pipe ends."""
    with fault_proxy(upstream) as proxy:
        told.send(proxy.port)
        while True:
            try:
                said = told.recv()
            except EOFError:
                return
            if said == _HOW_MANY:
                told.send(sum(request.answered for request in proxy.requests))
            else:
                proxy.bytes_per_s = None if said is None else said * 1e6

"""A proxy between a client and a store that does to requests what networks and stores do on bad days."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from tests.stores import free_ports

PIECE = 64 << 10
_SAVED_S = 0.05


@dataclass
class Request:
    """What was asked for, and how many bytes of the answer's body were passed on."""

    number: int  # 0, 1, ... in the order of arrival
    method: str
    target: str
    headers: dict[str, str]
    answered: int = 0


@dataclass(frozen=True)
class Fault:
    """One bad thing. Numbers of bytes count the body alone, not its headers."""

    status: int | None = None  # answer this instead of asking the store
    code: str = "Fault"  # S3's name for it; none: no body
    headers: tuple[str, ...] = ()  # of that answer, beside those that it needs
    reset_upload: int | None = None  # reset the connection after so many bytes of the request
    reset_download: int | None = None  # reset the connection after so many bytes of the answer
    pause: float = 0.0  # seconds after each 64 KiB of the answer
    lose_answer: bool = False  # let the store do it, then reset the connection
    hang: float | None = (
        None  # say nothing for so many seconds (before the answer, or before a reset in it), then reset
    )


Decide = Callable[[Request], Fault | None]


@dataclass
class FaultProxy:
    """A running proxy. `decide` names the fault of each request (None: none) and may be replaced at any time."""

    port: int
    decide: Decide
    listen: Callable[[], None]
    refuse: Callable[[], None]
    """Let nobody listen on the port, so that connections are refused, until `listen` is called."""

    requests: list[Request] = field(default_factory=list)
    bytes_per_s: float | None = None
    """What all answers together may have of a line's bandwidth, from now on; None: all that there is."""
    _sent: float = 0.0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def pass_on(self, count: int) -> None:
        """Wait until the line has taken so many bytes of an answer."""
        if self.bytes_per_s is not None:
            now = time.monotonic()
            # A line that was idle has saved up next to nothing; what a late timer cost is made good.
            self._sent = max(self._sent, now - _SAVED_S) + count / self.bytes_per_s
            await asyncio.sleep(max(self._sent - now, 0))


@contextlib.contextmanager
def fault_proxy(upstream: int, decide: Decide = lambda request: None) -> Iterator[FaultProxy]:
    """Listen on a free port and pass HTTP requests on to the local port `upstream`, in a thread of its own."""
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()
    clients: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        task = loop.create_task(_handle(proxy, upstream, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def begin() -> None:
        servers.append(await asyncio.start_server(accept, "127.0.0.1", port, limit=1 << 20))

    def refuse() -> None:
        loop.call_soon_threadsafe(servers[-1].close)

    async def serve() -> None:
        await stop.wait()
        servers[-1].close()
        for _ in range(3):  # a connection may still be on its way in
            await asyncio.sleep(0.02)
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                # One that is closed by now has no loop left to do it in.
                with contextlib.suppress(AttributeError):
                    client.transport.abort()
        await asyncio.sleep(0.02)

    proxy = FaultProxy(
        port,
        decide,
        listen=lambda: asyncio.run_coroutine_threadsafe(begin(), loop).result(10),
        refuse=refuse,
    )
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    proxy.listen()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


async def _handle(
    proxy: FaultProxy, upstream: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection of the client, which carries one request."""
    outward: asyncio.StreamWriter | None = None
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        request = Request(len(proxy.requests), method, target, headers)
        proxy.requests.append(request)
        fault = proxy.decide(request) or Fault()
        if fault.hang is not None and fault.reset_download is None:
            await asyncio.sleep(fault.hang)
            return _reset(writer)
        if fault.status is not None and fault.reset_upload is None:
            await _drain(reader, headers, writer)
            body = (
                b""
                if method == "HEAD" or not fault.code
                else f"<Error><Code>{fault.code}</Code><Message>of the proxy</Message></Error>".encode()
            )
            lines = [f"HTTP/1.1 {fault.status} Fault", f"Content-Length: {len(body)}", "Connection: close"]
            writer.write("\r\n".join([*lines, *fault.headers, "", ""]).encode() + body)
            await writer.drain()
            return None
        inward, outward = await asyncio.open_connection("127.0.0.1", upstream, limit=1 << 20)
        kept = [line for line in lines if line.split(":")[0].lower() not in ("connection", "expect")]
        outward.write("\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1"))
        passed = 0
        async for piece in _body(reader, headers, writer):
            if fault.reset_upload is not None and passed + len(piece) >= fault.reset_upload:
                return _reset(writer)
            outward.write(piece)
            await outward.drain()
            passed += len(piece)
        if fault.lose_answer:
            await inward.read()
            return _reset(writer)
        writer.write(await inward.readuntil(b"\r\n\r\n"))
        while piece := await inward.read(PIECE):
            if fault.reset_download is not None:
                piece = piece[: fault.reset_download - request.answered]
            await proxy.pass_on(len(piece))
            writer.write(piece)
            await writer.drain()
            request.answered += len(piece)
            await asyncio.sleep(fault.pause)
            if request.answered == fault.reset_download:
                await asyncio.sleep(fault.hang or 0.05)  # a reset overtakes what the client has not read yet
                return _reset(writer)
    except (OSError, asyncio.IncompleteReadError):
        pass  # the client or the store went away
    finally:
        writer.close()
        if outward is not None:
            outward.transport.abort()


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], writer: asyncio.StreamWriter
) -> AsyncIterator[bytes]:
    """The request's body as it is on the wire, in pieces."""
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
            if size == 0:
                return
    left = int(headers.get("content-length", 0))
    while left:
        piece = await reader.read(min(PIECE, left))
        if not piece:
            raise ConnectionResetError
        left -= len(piece)
        yield piece


async def _drain(reader: asyncio.StreamReader, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    async for _ in _body(reader, headers, writer):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset instead of a goodbye."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

"""A narrow link to a server of this machine: what it sends comes through slowly."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

_PIECE_S = 0.05


@contextlib.contextmanager
def slow_link(upstream: int, bytes_per_s: int) -> Iterator[int]:
    """The port that leads to the local port `upstream`, each connection at no more than `bytes_per_s` downwards."""
    open_ones: list[socket.socket] = []

    def up(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := client.recv(1 << 16):
                server.sendall(part)
            server.shutdown(socket.SHUT_WR)

    def down(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := server.recv(max(1, int(bytes_per_s * _PIECE_S))):
                client.sendall(part)
                time.sleep(len(part) / bytes_per_s)
            client.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", upstream))
                open_ones.extend((client, server))
                for carry in (up, down):
                    threading.Thread(target=carry, args=(client, server), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=serve, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in open_ones:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        accepting.join(10)

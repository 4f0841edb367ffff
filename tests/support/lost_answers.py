"""A PostgreSQL server whose answer to a COMMIT can be lost, as in a failover: the commit stands, nobody hears of it."""

import contextlib
import multiprocessing
import re
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

_COMMIT = re.compile(rb"\bCOMMIT\b", re.IGNORECASE)
_BLOCK = 1 << 16


@dataclass(frozen=True)
class LosesAnswers:
    """A way to a server, at `port` of this machine."""

    port: int
    _armed: Event

    def lose(self) -> None:
        """The answer to the next commit of a snapshot is lost."""
        self._armed.set()

    @property
    def has_lost(self) -> bool:
        return not self._armed.is_set()


@contextlib.contextmanager
def loses_answers(server_port: int) -> Iterator[LosesAnswers]:
    """A process of its own for as long as the block runs: DuckDB may wait for the server without letting others run."""
    context = multiprocessing.get_context("spawn")
    armed = context.Event()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_listen, args=[server_port, armed, sender], daemon=True)
    process.start()
    try:
        yield LosesAnswers(receiver.recv(), armed)
    finally:
        process.kill()
        process.join()


def _listen(server_port: int, armed: Event, ready: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ready.send(listening.getsockname()[1])
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_serve, args=[client, server_port, armed], daemon=True).start()


def _serve(client: socket.socket, server_port: int, armed: Event) -> None:
    writes = False
    with client, socket.create_connection(("127.0.0.1", server_port)) as server, contextlib.suppress(OSError):
        while True:
            for ready in select.select([client, server], [], [])[0]:
                said = ready.recv(_BLOCK)
                if not said:
                    return
                (server if ready is client else client).sendall(said)
                if ready is client and armed.is_set():
                    writes = writes or (b"ducklake_snapshot" in said and b"INSERT INTO" in said.upper())
                    if writes and _COMMIT.search(said):
                        server.recv(_BLOCK)  # it has committed
                        armed.clear()
                        return

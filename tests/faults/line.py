"""A line between memops and the server of the tests, which is cut or falls silent at a chosen moment."""

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Literal

RUN, MOVES, COMMIT = b"memops.run_id", b"-- Takes public.memory_chunks away", b"COMMIT\0"
"""What the change says on its connection, from the first to the last."""

DUMP, RESTORE = ((name, b"COPY public.memory_chunks") for name in (b"memops dumps", b"memops restores"))
"""What pg_dump and pg_restore say on theirs before the rows are on their way."""


@dataclass
class Connection:
    """One client of the line: how much of what is waited for it has said, and whether anything still passes."""

    client: socket.socket
    server: socket.socket
    said: int = 0
    is_silent: bool = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Line:
    """Listens on a port of this machine and passes everything on to the socket ``server``, both ways.

    ``server`` may be changed: connections to come lead to the other one.
    """

    def __init__(self, server: Path) -> None:
        self.server = server
        self.has_happened = Event()
        self._for_new: Literal["passes", "refused", "silent"] = "passes"
        self._connections: list[Connection] = []
        self._awaited: tuple[bytes, ...] = ()
        self._at, self._then = "", lambda: None
        self._listening = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> dict[str, str]:
        """The settings of a database alias that is reached through it."""
        return {"HOST": "127.0.0.1", "PORT": str(self._listening.getsockname()[1])}

    def when(self, *says: bytes, at: Literal["question", "answer"], then: Callable[[], object]) -> None:
        """Do something, once, when a client has said all of this on one connection, or when it is answered.

        What is about to pass then waits for it."""
        self._awaited, self._at, self._then = says, at, then
        self.has_happened.clear()

    def interrupt(self) -> None:
        """Close every connection; new ones pass."""
        for connection in [*self._connections]:
            connection.close()

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        self._for_new = "refused"
        self.interrupt()

    def stall(self) -> None:
        """Of what is said on the present connections nothing arrives any more; new ones pass."""
        for connection in [*self._connections]:
            connection.is_silent = True

    def fall_silent(self) -> None:
        """Nor on new ones: they are accepted, and never answered."""
        self._for_new = "silent"
        self.stall()

    def mend(self) -> None:
        self._for_new = "passes"

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.interrupt()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._for_new == "refused":
                    client.close()
                    continue
                Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(str(self.server))
            connection = Connection(client, server, is_silent=self._for_new == "silent")
            self._connections.append(connection)
            try:
                while self._pass_on(connection):
                    pass
            finally:
                self._connections.remove(connection)

    def _pass_on(self, connection: Connection) -> bool:
        """What comes from one end goes to the other. False: an end is closed."""
        for end in select.select([connection.client, connection.server], [], [])[0]:
            if not (data := end.recv(65536)):
                return False
            is_question = end is connection.client
            if self._is_awaited(connection, data, is_question):
                self._awaited = ()
                self._then()
                self.has_happened.set()
            if not connection.is_silent:
                (connection.server if is_question else connection.client).sendall(data)
        return True

    def _is_awaited(self, connection: Connection, data: bytes, is_question: bool) -> bool:
        if not self._awaited:
            return False
        if not is_question:
            return self._at == "answer" and connection.said == len(self._awaited)
        while connection.said < len(self._awaited) and self._awaited[connection.said] in data:
            connection.said += 1
        return self._at == "question" and connection.said == len(self._awaited)

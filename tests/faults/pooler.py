"""A small pooler: its clients share the server's processes, each for as long as a transaction, or a session, lasts."""

import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO

SSL, GSS, PROTOCOL_3 = 80877103, 80877104, 196608
TERMINATE, QUERY, SYNC, BACKEND_KEY, READY = b"X", b"Q", b"S", b"K", b"Z"
IDLE = b"I"


class Server:
    """One of the server's processes, and what it said when it was ready for the first time."""

    def __init__(self, path: Path, startup: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.messages = _messages(self.socket.makefile("rb"))
        self.socket.sendall(struct.pack("!ii", len(startup) + 8, PROTOCOL_3) + startup)
        self.greeting = [*self._until_ready()]

    def close(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def ask(self, question: bytes) -> list[tuple[bytes, bytes]]:
        self.socket.sendall(question)
        return [*self._until_ready()]

    def _until_ready(self) -> Iterator[tuple[bytes, bytes]]:
        for kind, message in self.messages:
            yield kind, message
            if kind == READY:
                return


class Pooler:
    """Listens on a port of this machine. As pgbouncer does, it gives out numbers of its own for the server's
    processes."""

    def __init__(self, path: Path, *, by_session: bool = False) -> None:
        self.path, self.by_session = path, by_session
        self.idle: list[Server] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> dict[str, str]:
        return {"HOST": "127.0.0.1", "PORT": str(self.listening.getsockname()[1])}

    def close(self) -> None:
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for server in self.idle:
            server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as said, suppress(OSError, EOFError):
            startup = _startup(client, said)
            first = self._free(startup)
            number = struct.pack("!ii", 12, secrets.randbelow(2**31)) + secrets.token_bytes(4)
            for kind, message in first.greeting:
                client.sendall(BACKEND_KEY + number if kind == BACKEND_KEY else message)
            server, question = self._kept(first), b""
            try:
                for kind, message in _messages(said):
                    if kind == TERMINATE:
                        break
                    question += message
                    if kind in (QUERY, SYNC):
                        server = server or self._free(startup)
                        answer, question = server.ask(question), b""
                        client.sendall(b"".join(message for _, message in answer))
                        if answer[-1][1].endswith(IDLE):
                            server = self._kept(server)
            finally:
                if server is not None:
                    server.close()

    def _kept(self, server: Server) -> Server | None:
        """By a client whose transaction is over, for its session."""
        if self.by_session:
            return server
        self.idle.append(server)
        return None

    def _free(self, startup: bytes) -> Server:
        return self.idle.pop() if self.idle else Server(self.path, startup)


def _startup(client: socket.socket, said: BinaryIO) -> bytes:
    while True:
        length, code = struct.unpack("!ii", _exactly(said, 8))
        rest = _exactly(said, length - 8)
        if code == PROTOCOL_3:
            return rest
        if code not in (SSL, GSS):
            raise EOFError  # somebody who wants to cancel
        client.sendall(b"N")


def _messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while True:
        head = _exactly(stream, 5)
        (length,) = struct.unpack("!i", head[1:])
        yield head[:1], head + _exactly(stream, length - 4)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data

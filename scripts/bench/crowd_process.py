"""The process of a crowd. It is told what to do in lines of JSON, one at a time.

    {"do": "open", "port", "talks": [[[said, wanted]]], "answers": [[received, said]]} → {"open"}
    {"do": "count", "what", "until"} → {"deliveries", "bytes", "answers"}: answered when there are
        so many of `what`, or when nothing has come for a while

What is said and wanted are bytes, written as Latin-1. A socket that is closed ends the process.
"""

import json
import select
import socket
import sys
import time
from collections import Counter
from typing import Any, Final

from scripts.bench.push_server import MARK, Talk

QUIET_MAX_S: Final = 10.0
# Between two looks at all sockets. Whoever waits for each frame is woken for each one, by the
# system and in the time of the server that writes it, which clients elsewhere are not.
NAP_S: Final = 0.002
TALK_MAX_S: Final = 10.0
READ_BYTES: Final = 1 << 16
ORDERS: Final = 0  # standard input

_MARK: Final = MARK.encode()
_KEPT: Final = len(_MARK) - 1  # what there may be of a mark that is cut in two


class Client:
    __slots__ = ("sock", "tail")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.tail = b""


class Clients:
    def __init__(self) -> None:
        self._ready = select.epoll()
        self._ready.register(ORDERS, select.EPOLLIN)
        self._clients: dict[int, Client] = {}
        self._answers: dict[bytes, bytes] = {}
        self._counts: Counter[str] = Counter(deliveries=0, bytes=0, answers=0)
        self._wanted: tuple[str, int] | None = None

    def run(self) -> None:
        """Until there are no more orders."""
        while True:
            ready = self._ready.poll(QUIET_MAX_S if self._wanted else None)
            for fd, _ in ready:
                if fd != ORDERS:
                    self._read(self._clients[fd])
                elif line := sys.stdin.buffer.readline():
                    self._obey(json.loads(line))
                else:
                    return
            if ready:
                time.sleep(NAP_S)
            if self._wanted is not None:
                what, until = self._wanted
                if self._counts[what] >= until or not ready:
                    self._wanted = None
                    _tell(self._counts)

    def _obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "count":
            self._wanted = (order["what"], order["until"])
            return
        self._answers = dict(_as_bytes(order["answers"]))
        for talk in order["talks"]:
            self._connect(order["port"], _as_bytes(talk))
        _tell({"open": len(self._clients)})

    def _connect(self, port: int, talk: Talk) -> None:
        sock = socket.create_connection(("127.0.0.1", port), TALK_MAX_S)
        for said, wanted in talk:
            sock.sendall(said)
            heard = b""
            while wanted not in heard:
                data = sock.recv(READ_BYTES)
                if not data:
                    sys.exit(f"the server wants no more; it said {heard!r}")
                heard += data
        sock.setblocking(False)
        self._clients[sock.fileno()] = Client(sock)
        self._ready.register(sock, select.EPOLLIN)

    def _read(self, client: Client) -> None:
        data = client.sock.recv(READ_BYTES)
        if not data:
            sys.exit("the server has closed a socket")
        seen = client.tail + data
        client.tail = seen[-_KEPT:]
        self._counts["deliveries"] += seen.count(_MARK)
        self._counts["bytes"] += len(data)
        if data in self._answers:
            client.sock.sendall(self._answers[data])
            self._counts["answers"] += 1


def _as_bytes(talk: list[tuple[str, str]]) -> Talk:
    return [(said.encode("latin-1"), wanted.encode("latin-1")) for said, wanted in talk]


def _tell(told: object) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    Clients().run()

"""The receiver: listens, judges what comes, and decides how it is answered."""

import asyncio
import random
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence

from app.clock import now_ms
from app.domain.challenge import challenge_in
from app.domain.signature import ID, Verdict, verify
from app.receiver.behaviour import Behaviour, echo, status
from app.receiver.connection import Connection
from app.receiver.plan import Plan
from app.receiver.received import ATTEMPT, Received, Tally, event_in

CONNECTIONS_MAX = 4_096
ACCEPTED_MAX = 100_000  # ids remembered to tell duplicates

_ACCEPT = status(204)
_ACCEPT_ALL = Plan()


class Receiver:
    """Listens from `start` to `stop`, or in an `async with` on a free port of loopback, and tells
    `on_request` of every complete request.

    `secrets` are the live ones: a request that none of them verifies is answered with 401. Raises
    BadSecret for one that is none. What is not refused meets the next of `script`; when there is
    none left, `default`; without one, what `plan` says. All three may be changed at any time.
    With `echoes` a challenge is echoed, whatever else it would have met. `seed` makes the same
    choices in every run.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        plan: Plan = _ACCEPT_ALL,
        on_request: Callable[[Received], None] = lambda _: None,
        seed: int | None = None,
        *,
        script: Sequence[Behaviour] = (),
        default: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
        echoes: bool = False,
    ) -> None:
        self.echoes = echoes
        self.plan = plan
        self.script = deque(script)
        self.default = default
        self.tally = Tally()
        self.connections = 0  # made so far
        self.port = 0
        self._host = "127.0.0.1"
        self._secrets = tuple(secrets)
        self._on_request = on_request
        self._random = random.Random(seed)
        self._tls = tls
        self._open: set[Connection] = set()
        self._accepted: OrderedDict[str, None] = OrderedDict()
        self._server: asyncio.Server | None = None
        self._refusing: asyncio.Task[None] | None = None
        for secret in self._secrets:
            verify(secret, {}, b"", 0.0)

    # From start to stop

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens, and returns the port: the one given, or for 0 a free one. Raises OSError."""
        self._host = host
        self.port = await self._listen(port)
        return self.port

    async def _listen(self, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._accept, self._host, port, backlog=1024, ssl=self._tls
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening and cuts what is open."""
        if self._refusing is not None:
            self._refusing.cancel()
            await asyncio.wait([self._refusing])
        server, self._server = self._server, None
        if server is not None:
            server.close()
        acting = [one.acting for one in self._open if one.acting is not None]
        for task in acting:
            task.cancel()
        for connection in list(self._open):
            connection.cut()
        if acting:
            await asyncio.wait(acting)
        if server is not None:
            await server.wait_closed()

    async def __aenter__(self) -> "Receiver":
        await self.start(self._host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/hook"

    def refuse(self, for_s: float) -> None:
        """Refuses whoever connects for so long; what is connected stays."""
        if self._server is not None and self._refusing is None:
            self._refusing = asyncio.create_task(self._refuse(for_s), name="refuse connections")

    async def _refuse(self, for_s: float) -> None:
        assert self._server is not None
        self._server.close()
        try:
            with socket.socket(_family(self._host)) as placeholder:  # keeps the port ours
                placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                placeholder.bind((self._host, self.port))
                await asyncio.sleep(for_s)
                await self._listen(self.port)
        finally:
            self._refusing = None

    # Connections

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def drop_connections(self) -> None:
        """Closes all that are open, as a server does that restarts."""
        for connection in list(self._open):
            connection.close()

    def _accept(self) -> Connection:
        self.connections += 1
        return Connection(self, self.connections)

    def enter(self, connection: Connection) -> bool:
        """False when there are too many."""
        if len(self._open) >= CONNECTIONS_MAX:
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)

    # Requests

    def before_request(self) -> Behaviour | None:
        """What befalls a connection that waits for a request, if that is what comes next."""
        script = self.script
        if not script and self.default is None and self.plan.behaviours:
            script.append(self._draw())
        return script.popleft() if script and script[0].before_request else None

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, connection: int = 1
    ) -> tuple[Received, Behaviour | None]:
        """Judges a complete request and decides its answer: a behaviour, or the plain status."""
        at_ms = now_ms()
        # An endpoint with the method GET gets the message in the query, and that is what is signed.
        signed = target.partition("?")[2].encode("latin-1") if method == "GET" else body
        verdict = self._verify(headers, signed, at_ms / 1000)
        id_ = headers.get(ID, "")
        behaviour, code = self._answer(target, body, headers.get(ATTEMPT, ""), verdict)
        duplicate = bool(id_) and id_ in self._accepted
        name = "" if behaviour is None else behaviour.name
        received = Received(
            at_ms, method, target, headers, body, verdict, duplicate, code, connection, name
        )
        if id_ and 200 <= code < 300:
            self._remember(id_)
        self.tally.note(received)
        self._on_request(received)
        return received, behaviour

    def _verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> Verdict | None:
        verdict = None
        for secret in self._secrets:
            verdict = verify(secret, headers, body, now_s)
            if verdict:
                return verdict
        return verdict

    def _answer(
        self, target: str, body: bytes, attempt: str, verdict: Verdict | None
    ) -> tuple[Behaviour | None, int]:
        plan = self.plan
        if plan.path is not None and target.partition("?")[0] != plan.path:
            return None, 404
        if verdict is not None and not verdict:
            return None, 401
        if self.echoes and (challenge := challenge_in(event_in(target, body))) is not None:
            return echo(challenge), 200
        behaviour = self.script.popleft() if self.script else self.default
        if behaviour is None and attempt.isdecimal() and int(attempt) <= plan.fail_first:
            return None, plan.status
        if behaviour is None and plan.behaviours:
            behaviour = self._draw()
        if behaviour is None:
            return None, plan.status if self._random.random() < plan.fail else 204
        return behaviour, behaviour.status

    def _draw(self) -> Behaviour:
        fails = self._random.random() < self.plan.fail
        return self._random.choice(self.plan.behaviours) if fails else _ACCEPT

    def _remember(self, id_: str) -> None:
        self._accepted[id_] = None
        if len(self._accepted) > ACCEPTED_MAX:
            self._accepted.popitem(last=False)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET

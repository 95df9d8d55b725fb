"""A proxy before a store that can lose replies, fall silent, and cut connections."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Listens on a port of the loopback interface and passes everything to a Unix socket."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._loses_replies = False
        self.passed = bytearray()  # what the server has been sent (since replies are lost)
        self.port = 0
        self.listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def losing_replies(self) -> AsyncIterator[None]:
        """Passes commands on and no reply; at the end it cuts every connection."""
        self.passed.clear()
        self._loses_replies = True
        yield
        self.cut()
        self._loses_replies = False

    def cut(self) -> None:
        """Cuts every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Stops listening and cuts every connection: the store cannot be reached any more."""
        assert self.listener is not None
        self.listener.close()
        self.cut()
        await self.listener.wait_closed()

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        replies, server = await asyncio.open_unix_connection(self._target)
        self._writers |= {answer, server}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_commands(client, server))
                tasks.create_task(self._pass_replies(replies, answer))
        except* OSError:
            pass  # one side was cut
        finally:
            self._writers -= {answer, server}
            for writer in (answer, server):
                writer.transport.abort()

    async def _pass_commands(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        while data := await client.read(65_536):
            self.passed += data
            server.write(data)
        raise ConnectionResetError

    async def _pass_replies(
        self, replies: asyncio.StreamReader, answer: asyncio.StreamWriter
    ) -> None:
        while data := await replies.read(65_536):
            if not self._loses_replies:
                answer.write(data)
        raise ConnectionResetError


@asynccontextmanager
async def proxy_to(
    target: str, tls: ssl.SSLContext | None = None, *, port: int = 0
) -> AsyncIterator[Proxy]:
    """A proxy to the Unix socket at `target`, gone at the end with all its connections."""
    proxy = Proxy(target)
    proxy.listener = await asyncio.start_server(proxy.serve, "127.0.0.1", port, ssl=tls)
    proxy.port = proxy.listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        await proxy.close()

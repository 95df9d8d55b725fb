"""A gateway as it is run: a process of its own, with all that it says in a file."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from websockets.frames import Close, Frame, Opcode

from app.commands.children import command
from app.commands.environment import environment_of
from tests.credentials import SECRET
from tests.gateway.frames import read_frames
from tests.gateway.gate import PATIENCE_S, token_of
from tests.gateway.test_handshake import get, read_answer, request
from tests.store_servers import free_ports
from tests.wait import block_until

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Peer:
    """A client that sends whatever it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._read = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frames(self) -> list[Frame]:
        """What came until a close frame, or the end."""
        while not (frames := read_frames(self._read)) or frames[-1].opcode is not Opcode.CLOSE:
            read = await self.read()
            if not read:
                break
            self._read += read
        return frames

    async def read(self) -> bytes:
        """b"" at the end, whichever way it was brought about."""
        try:
            return await self.reader.read(1 << 16)
        except ConnectionError:
            return b""

    async def close_frame(self) -> Close | None:
        """None when the connection ended without one."""
        frames = await self.frames()
        if not frames or frames[-1].opcode is not Opcode.CLOSE:
            return None
        return Close.parse(bytes(frames[-1].data))


class GatewayProcess:
    def __init__(self, port: int, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.port = port
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    @asynccontextmanager
    async def peer(self, patience_s: float = PATIENCE_S) -> AsyncIterator[Peer]:
        """A connection before its handshake, for no longer than a test has patience."""
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            try:
                yield Peer(reader, writer)
            finally:
                writer.transport.abort()

    @asynccontextmanager
    async def socket(
        self, target: str | None = None, *, patience_s: float = PATIENCE_S, **headers: str | None
    ) -> AsyncIterator[Peer]:
        """One after its handshake: of bob, unless the target says otherwise."""
        async with self.peer(patience_s) as peer:
            peer.send(request(target or f"/v1/socket?token={token_of('bob')}", **headers).encode())
            status, _, _ = read_answer(await peer.reader.readuntil(b"\r\n\r\n"))
            assert status == 101
            yield peer

    async def ask(self, said: bytes | str) -> bytes:
        async with self.peer() as peer:
            peer.send(said.encode() if isinstance(said, str) else said)
            return b"".join([part async for part in _parts(peer)])

    async def metrics(self) -> dict[str, float]:
        """Those with a label as `name{value}`."""
        _, _, body = read_answer(await self.ask(get("/metrics")))
        return {
            sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }


async def _parts(peer: Peer) -> AsyncIterator[bytes]:
    while part := await peer.read():
        yield part


@contextmanager
def gateway_process(directory: Path, store_url: str, **settings: str) -> Iterator[GatewayProcess]:
    """Ready when the block begins; it has to end in order when that ends."""
    [port] = free_ports(1)
    chosen = {
        "redis_url": store_url,
        "gateway_port": str(port),
        "token_secret": SECRET,
        "log_level": "debug",
        "goodbye_spread_s": "0",
        **settings,
    }
    output = directory / "gateway.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command("gateway"), env=environment_of(chosen), stdout=file, stderr=file
        )
    try:
        found = GatewayProcess(port, process, output)
        block_until(lambda: "accepting sockets" in found.output or process.poll(), 30)
        yield found
        process.terminate()
        assert process.wait(20) == 0, found.output
    finally:
        process.kill()
        process.wait()

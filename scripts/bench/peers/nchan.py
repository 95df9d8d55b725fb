"""nchan: a module for nginx, in one worker process; posts by HTTP, subscribers by websocket."""

import asyncio
import os
import pwd
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.errors import CommandFailed
from scripts.bench.crowd import upgrade
from scripts.bench.peer_process import PeerProcess
from scripts.bench.peers.programs import accepting, free_port, program
from scripts.bench.push_server import Kind, Talk
from scripts.load.processes import descendants

NAME: Final = "nchan"
MODULE: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d+)")

# Messages are kept only as long as it takes to hand them out, and nobody begins with an old one.
_CONFIGURATION: Final = """\
load_module MODULE;
user USER;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid DIRECTORY/nginx.pid;
error_log DIRECTORY/nginx.log warn;
events {
    worker_connections 16000;
}
http {
    access_log off;
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    scgi_temp_path DIRECTORY/scgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    keepalive_requests 1000000;
    keepalive_timeout 1h;
    nchan_shared_memory_size 128M;
    server {
        listen 127.0.0.1:PORT backlog=1024;
        location = /posts {
            nchan_publisher http;
            nchan_channel_id posts;
            nchan_message_buffer_length 10;
            nchan_message_timeout 5s;
        }
        location = /socket {
            nchan_subscriber websocket;
            nchan_channel_id posts;
            nchan_subscriber_first_message newest;
            nchan_subscriber_timeout 0;
            nchan_websocket_ping_interval 0;
        }
    }
}
"""


def why_missing() -> str | None:
    installed = program("nginx") and MODULE.exists()
    return None if installed else "apt-get install nginx-light libnginx-mod-nchan"


@dataclass(slots=True)
class Nchan:
    """A PushServer; all that is published goes by one connection, without waiting for answers."""

    port: int
    pids: Sequence[int]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    name: str = NAME
    answers: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    _prepared: tuple[bytes, int] = (b"", 0)

    def talk(self, number: int) -> Talk:
        return ((upgrade("/socket"), b"HTTP/1.1 101"),)

    async def settle(self) -> bool:
        return False

    async def prepare(self, payload: str, times: int) -> None:
        head = f"POST /posts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(payload)}\r\n\r\n"
        self._prepared = ((head + payload).encode() * times, times)

    async def publish(self) -> None:
        requests, times = self._prepared
        self.writer.write(requests)
        heard = b""
        while len(statuses := _STATUS.findall(heard)) < times:
            data = await self.reader.read(1 << 16)
            if not data:
                raise EOFError("the connection was closed")
            heard += data
        if refused := [status for status in statuses if not status.startswith(b"2")]:
            raise CommandFailed(f"{NAME} answers a post with {refused[0].decode()}")


@asynccontextmanager
async def start(directory: Path) -> AsyncGenerator[Nchan]:
    """Raises CommandFailed when it does not start."""
    port, place = free_port(), directory / NAME
    place.mkdir()
    configuration = place / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.replace("MODULE", str(MODULE))
        .replace("DIRECTORY", str(place))
        .replace("PORT", str(port))
        .replace("USER", pwd.getpwuid(os.getuid()).pw_name)
    )
    nginx = program("nginx") or "nginx"
    command = (nginx, "-p", str(place), "-c", str(configuration), "-e", str(place / "nginx.log"))
    async with PeerProcess(NAME, command, directory) as process:
        reader, writer = await accepting(process, port)
        try:
            # Before it is answered there may be no worker yet.
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await reader.readuntil(b"</html>\r\n")
            pids = tuple(descendants([process.pid]).values())
            yield Nchan(port, pids, reader, writer)
        finally:
            writer.close()


NCHAN: Final = Kind(NAME, start, why_missing)

"""docs/operations.md, "Backup and restore": its commands, in its order, on a real service."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import redis
from websockets.asyncio.client import connect

from app.commands.data_dir import ADMIN_KEY, SECRET_KEY, TOKEN_SECRET
from app.demo.service import RunningService, Service
from app.store.embedded import EmbeddedServer, server_binary
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.shell import Terminal, environment
from tests.flows.service import ADMIN_KEY as ADMIN
from tests.flows.service import SETTINGS as SETTINGS_OF_ONE
from tests.flows.service import Service as OneLoop
from tests.flows.service import serve
from tests.opened_store import opened
from tests.receivers import Receiver, status
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until, wait_until

STEPS: dict[str, Block] = {
    block.value: block
    for block in blocks_of(ROOT / "docs" / "operations.md")
    if block.kind == "backup"
}
SECRET = "whsec_dGhpcyBzZWNyZXQgaXMgb25seSBmb3IgdGhlIFJFQURNRQ=="
# The bundled server comes without its command line tool. What takes its place sends the same
# commands to the same server, and shows its answers as they are.
PROGRAMS = f"""
valkey-server() {{ {server_binary()} "$@"; }}
valkey-cli() {{
  exec 3<>"/dev/tcp/127.0.0.1/$2"
  shift 2
  printf '%s\\r\\nQUIT\\r\\n' "$*" >&3
  tr -d '\\r' <&3
  exec 3>&-
}}
"""
# The copy has the leases of whoever held them; nobody can give these back. They are long enough for
# a busy machine to keep.
SETTINGS = {"retry_schedule_s": "600", "lease_s": "3"}


def run(
    step: str, directory: Path, env: Mapping[str, str], ports: Mapping[str, str] | None = None
) -> None:
    """Does one block of the page, with these ports in the place of those named there."""
    block = STEPS[step]
    text = block.text
    for named, ours in (ports or {}).items():
        text = text.replace(named, ours)
    if block.language == "python":
        (directory / f"{step}.py").write_text(text)
        text = f"python {step}.py"
    terminal = Terminal(PROGRAMS + text, directory, env, step)
    try:
        terminal.await_end()
    finally:
        terminal.end()


async def call(service: Service, method: str, path: str, body: object = None) -> Any:
    return await asyncio.to_thread(service.api.call, method, f"/v1{path}", body)


async def first_frames(service: Service, count: int, **query: object) -> list[Any]:
    token = (await asyncio.to_thread(service.api.make_token, "bob", 60))["token"]
    url = f"{service.gateway}/v1/socket?{urlencode({'token': token, **query})}"
    # All that comes is taken, or the end of it would not be seen.
    opening = connect(url, compression=None, proxy=None, max_queue=None)
    async with opening as socket, asyncio.timeout(10):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def settled(service: Service, id_: str, state: str) -> Any:
    async def there() -> Any:
        page = await call(service, "GET", f"/posts/{id_}/deliveries?channel=webhook&state={state}")
        return page["items"]

    [found] = await wait_until(there, 15, 0.02)
    return found


def make_keys(directory: Path) -> None:
    directory.mkdir()
    made = {
        ADMIN_KEY: ADMIN,
        TOKEN_SECRET: str(SETTINGS_OF_ONE["token_secret"]),
        SECRET_KEY: str(SETTINGS_OF_ONE["secret_key"]),
    }
    for name, text in made.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)


@asynccontextmanager
async def bundled(directory: Path) -> AsyncIterator[OneLoop]:
    """A service in this process, on the server and the keys that `moments up` would use."""
    make_keys(directory)
    server = EmbeddedServer(directory)
    server.start()
    try:
        async with opened(server.url) as store, serve(store, **SETTINGS) as service:
            yield service
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class Before:
    """What was there when the copy was made, and what came after."""

    endpoint: str
    arrived: str
    failed: str
    lost: str
    epoch: str
    head: int


async def copied(directory: Path, receiver: Receiver) -> Before:
    """Has a service run, and copies it while posts come in."""
    async with bundled(directory / "data") as service:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", receiver.url, secret=SECRET)
        arrived = await service.post("alice")
        await service.settled(arrived["id"], "bob", "delivered")
        failed = await service.post("alice")
        await service.settled(failed["id"], "bob", "retrying")
        busy = asyncio.ensure_future(keep_posting(service))
        await asyncio.to_thread(run, "copy", directory, environment())
        busy.cancel()
        await asyncio.wait([busy])
        lost = await service.post("alice")
        await service.settled(lost["id"], "bob", "pending", "socket")
        feed = await service.call("GET", "/users/bob/feed")
    places = (endpoint["id"], arrived["id"], failed["id"], lost["id"])
    return Before(*places, feed["epoch"], feed["head_offset"])


async def keep_posting(service: OneLoop) -> None:
    while True:
        await service.post("alice")


async def test_a_service_is_copied_while_it_runs_and_starts_from_the_copy(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with Receiver(status(), status(503), secrets=[SECRET]) as receiver:
        before = await copied(tmp_path, receiver)
        shutil.move(tmp_path / "backup", elsewhere / "backup")
        copy, start = STEPS["start"].text.splitlines()
        assert start == "moments up --data ./data"  # which is what RunningService does
        assert await (await asyncio.create_subprocess_shell(copy, cwd=elsewhere)).wait() == 0
        async with RunningService(elsewhere, SETTINGS) as service:
            await all_is_there(service, before)
            # What is signed with the sealed secret is verified.
            waiting = await settled(service, before.failed, "retrying")
            await call(service, "POST", f"/deliveries/{waiting['id']}:retry")
            await settled(service, before.failed, "delivered")
            assert all(request.verdict for request in receiver.requests)
            await everybody_starts_over(service, before.epoch, elsewhere)


async def all_is_there(service: Service, before: Before) -> None:
    assert (await call(service, "GET", "/users/alice/friends"))["items"] == ["bob"]
    assert (await call(service, "GET", f"/endpoints/{before.endpoint}"))["user"] == "bob"
    assert (await settled(service, before.arrived, "delivered"))["attempts"] == 1
    feed = await call(service, "GET", "/users/bob/feed?after=0&limit=200")
    ids = [item["post"]["id"] for item in feed["items"]]
    assert ids[:2] == [before.arrived, before.failed]
    assert before.lost not in ids
    assert feed["head_offset"] < before.head
    assert feed["epoch"] == before.epoch


async def everybody_starts_over(service: Service, epoch: str, directory: Path) -> None:
    """Once the store has a new epoch, who comes with the old one is told so."""
    await asyncio.to_thread(run, "epoch", directory, environment())

    async def is_told() -> bool:
        hello, second = await first_frames(service, 2, after=1, epoch=epoch)
        return hello["epoch"] != epoch and second["type"] == "reset"

    await wait_until(is_told, 10, 0.1)


def test_a_snapshot_of_a_server_of_ones_own_is_put_back(tmp_path: Path):
    ports = dict(zip(("6379", "6380"), map(str, free_ports(2)), strict=True))
    server = TcpServer(tmp_path / "store", int(ports["6379"]), appendonly="yes")
    try:
        block_until(server.answers)
        server.admin.set("a", "1")
        server.admin.rpush("inbox", *range(100))
        kept = contents(server.admin)
        run("snapshot", tmp_path, environment(), ports)
        server.admin.set("a", "2")
    finally:
        server.stop()
    restored = redis.Redis(port=int(ports["6380"]), socket_timeout=5)
    try:
        run("restore", tmp_path, environment(), ports)
        assert contents(restored) == kept
    finally:
        restored.shutdown(nosave=True)
    # The next start is as ever: from the log.
    (tmp_path / "restored" / "dump.rdb").unlink()
    server = TcpServer(tmp_path / "restored", int(ports["6379"]), appendonly="yes")
    try:
        block_until(server.answers)
        assert contents(server.admin) == kept
    finally:
        server.stop()


def contents(admin: redis.Redis) -> dict[bytes, bytes]:
    return {name: admin.dump(name) for name in admin.scan_iter()}

"""docs/operations.md, "Backup and restore": its commands, in its order, on a real service."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import redis
from websockets.asyncio.client import connect

from app.demo.service import RunningService, Service
from app.store.embedded import server_binary
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.shell import Terminal, environment
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
SETTINGS = {"retry_schedule_s": "600"}


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
    async with connect(url, compression=None, proxy=None) as socket, asyncio.timeout(10):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def post(service: Service, text: str) -> str:
    body = {"author": "alice", "data": {"text": text}}
    return (await call(service, "POST", "/posts", body))["id"]


async def settled(service: Service, id_: str, state: str) -> Any:
    async def there() -> Any:
        page = await call(service, "GET", f"/posts/{id_}/deliveries?channel=webhook&state={state}")
        return page["items"]

    [found] = await wait_until(there, 15, 0.02)
    return found


async def test_a_service_is_copied_while_it_runs_and_starts_from_the_copy(tmp_path: Path):
    env = environment()
    async with Receiver(status(), status(503), secrets=[SECRET]) as receiver:
        async with RunningService(tmp_path, SETTINGS) as service:
            await call(service, "PUT", "/users/alice/friends/bob")
            endpoint = {"user": "bob", "url": receiver.url, "secret": SECRET}
            made = await call(service, "POST", "/endpoints", endpoint)
            arrived = await post(service, "before")
            await settled(service, arrived, "delivered")
            failed = await post(service, "refused")
            await settled(service, failed, "retrying")
            epoch = (await first_frames(service, 1))[0]["epoch"]
            busy = asyncio.ensure_future(keep_posting(service))
            await asyncio.to_thread(run, "copy", tmp_path, env)
            busy.cancel()
            await asyncio.wait([busy])
            lost = await post(service, "after")
            head = (await call(service, "GET", "/users/bob/feed"))["head_offset"]

        restored = tmp_path / "elsewhere"
        restored.mkdir()
        shutil.move(tmp_path / "backup", restored / "backup")
        copied, started = STEPS["start"].text.splitlines()
        assert started == "moments up --data ./data"  # which is what RunningService does
        await asyncio.create_subprocess_shell(copied, cwd=restored)
        await wait_until(lambda: (restored / "data" / "secret.key").exists())
        async with RunningService(restored, SETTINGS) as service:
            assert (await call(service, "GET", "/users/alice/friends"))["items"] == ["bob"]
            shown = await call(service, "GET", f"/endpoints/{made['id']}")
            assert shown["consecutive_failures"] == 1
            assert (await settled(service, arrived, "delivered"))["attempts"] == 1
            waiting = await settled(service, failed, "retrying")
            feed = await call(service, "GET", "/users/bob/feed?after=0&limit=200")
            ids = [item["post"]["id"] for item in feed["items"]]
            assert ids[:2] == [arrived, failed]
            assert lost not in ids
            assert feed["head_offset"] < head
            # What is signed with the sealed secret is verified.
            await call(service, "POST", f"/deliveries/{waiting['id']}:retry")
            await settled(service, failed, "delivered")
            assert all(request.verdict for request in receiver.requests)

            assert (await first_frames(service, 1))[0]["epoch"] == epoch
            await asyncio.to_thread(run, "epoch", restored, env)

            async def is_told() -> bool:
                hello, second = await first_frames(service, 2, after=1, epoch=epoch)
                return hello["epoch"] != epoch and second["type"] == "reset"

            await wait_until(is_told, 10, 0.1)


async def keep_posting(service: Service) -> None:
    while True:
        await post(service, "meanwhile")


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

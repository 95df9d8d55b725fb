"""Everything stopped and started again on the same data, as real processes."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

from app.demo.service import RunningService, Service
from tests.receivers import Receiver, status
from tests.wait import wait_until

RETRY_S = 6.0
SETTINGS = {"retry_schedule_s": f"{RETRY_S}", "retry_jitter": "0"}


async def call(service: Service, method: str, path: str, body: object = None) -> Any:
    return await asyncio.to_thread(service.api.call, method, f"/v1{path}", body)


async def socket(service: Service, user: str, **query: object) -> ClientConnection:
    token = (await asyncio.to_thread(service.api.make_token, user, 60))["token"]
    url = f"{service.gateway}/v1/socket?{urlencode({'token': token, **query})}"
    return await connect(url, compression=None, proxy=None)


async def next_frame(connection: ClientConnection) -> Any:
    async with asyncio.timeout(10):
        return json.loads(await connection.recv())


async def webhook_of(service: Service, post: str) -> Any:
    answer = await call(service, "GET", f"/posts/{post}/deliveries?channel=webhook")
    return answer["items"][0] if answer["items"] else None


async def test_retries_keep_their_times_and_sockets_their_offsets(tmp_path: Path) -> None:
    async with Receiver(status(500)) as receiver:
        async with RunningService(tmp_path, SETTINGS) as service:
            await call(service, "PUT", "/users/alice/friends/bob")
            await call(service, "POST", "/endpoints", {"user": "bob", "url": receiver.url})
            listening = await socket(service, "bob")
            hello = await next_frame(listening)
            body = {"author": "alice", "data": {"text": "before"}}
            before = await call(service, "POST", "/posts", body)
            assert (await next_frame(listening))["offset"] == 1

            async def is_retrying() -> bool:
                found = await webhook_of(service, before["id"])
                return found is not None and found["state"] == "retrying"

            await wait_until(is_retrying)
            failed_at = time.monotonic()
            await call(service, "POST", "/posts", {"author": "alice", "data": {"text": "missed"}})
        assert len(receiver.requests) <= 2  # the second post, and not yet the retry

        async with RunningService(tmp_path, SETTINGS) as service:
            back_s = time.monotonic() - failed_at
            resumed = await socket(service, "bob", after=1, epoch=hello["epoch"])
            assert (await next_frame(resumed))["epoch"] == hello["epoch"]
            frame = await next_frame(resumed)
            assert (frame["offset"], frame["post"]["data"]) == (2, {"text": "missed"})

            async def is_delivered() -> bool:
                return (await webhook_of(service, before["id"]))["state"] == "delivered"

            await wait_until(is_delivered, 20)
            waited_s = time.monotonic() - failed_at
            assert RETRY_S - 1 < waited_s < max(RETRY_S, back_s) + 3
            found = await webhook_of(service, before["id"])
            assert found["attempts"] == 2
            await resumed.close()

"""Webhooks by taskiq: a task for each recipient on a Redis stream, sent with one aiohttp session.

    BENCH_STORE=unix:///… BENCH_AUDIENCES=FILE python taskiq_sender.py
    BENCH_STORE=unix:///… taskiq worker taskiq_sender:broker

The first is the producer, told what to do on standard input; the second are the workers. Results
are not kept, and failures are tried again by the middleware that taskiq brings for that.
"""

# What is imported here is in .venv-peers, out of pyright's sight.
# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportFunctionMemberAccess=false

import asyncio
import json
import os
import sys
from typing import Any

import aiohttp
from orders import Audiences, answer, read_posts
from taskiq import SimpleRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker
from webhook import signed_headers

# Longer than another system's turn, so that connections are found open again.
KEPT_OPEN_S = 120.0
DEADLINE_S = 15.0

broker = RedisStreamBroker(os.environ["BENCH_STORE"]).with_middlewares(
    SimpleRetryMiddleware(default_retry_count=8)
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    state.session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(keepalive_timeout=KEPT_OPEN_S),
        timeout=aiohttp.ClientTimeout(total=DEADLINE_S),
    )


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    await state.session.close()


@broker.task("send", retry_on_error=True)
async def send(url: str, delivery: str, payload: dict[str, Any], secret: str) -> None:
    body = json.dumps(payload).encode()
    headers = signed_headers(secret, delivery, body)
    async with broker.state.session.post(url, data=body, headers=headers) as response:
        await response.read()
        response.raise_for_status()


async def produce() -> None:
    audiences = Audiences()
    await broker.startup()
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            tasks = 0
            for post in read_posts(line):
                await asyncio.sleep(post.left_s)
                for one in audiences.deliveries(post):
                    await send.kiq(one.url, one.id, one.payload, one.secret)
                    tasks += 1
            answer(tasks)
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(produce())

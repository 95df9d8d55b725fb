"""How late retries are: from when one is due to when it is received, through the whole service.

    python -m scripts.bench.retry_lateness [--endpoints 200] [--posts 20] [--delay 2]

Starts the service as `moments up` does. Every endpoint refuses the first attempt of each delivery
and takes the second; the schedule says when that is due, without jitter. Two requests on their way
and one answer are part of what is measured.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from app.demo.service import RunningService, Service
from app.receiver import Plan, Received, Receiver
from scripts.bench.row import Row

FRIENDS_AT_ONCE = 20
ENDPOINTS, POSTS, DELAY_S = 200, 20, 2.0
BAR_MS = 50.0


class Lateness:
    """When each delivery was first received, and how much later than due its retry was, in ms."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._first_s: dict[str, float] = {}
        self.late_ms: list[float] = []
        self.early = 0

    def take(self, received: Received) -> None:
        now_s = time.monotonic()
        first_s = self._first_s.setdefault(received.id, now_s)
        if received.attempt == "2":
            late_ms = (now_s - first_s - self._delay_s) * 1000
            self.late_ms.append(late_ms)
            self.early += late_ms < 0


async def call(service: Service, method: str, path: str, body: object = None) -> Any:
    return await asyncio.to_thread(service.api.call, method, f"/v1{path}", body)


async def measure() -> list[Row]:
    found = await _lateness(ENDPOINTS, POSTS, DELAY_S)
    return [
        Row(
            name="retry-lateness",
            what="retry lateness, p99",
            value=percentile(found, 0.99),
            unit="ms",
            source="python -m scripts.bench.retry_lateness",
            bar=BAR_MS,
        )
    ]


async def _lateness(endpoints: int, posts: int, delay_s: float) -> list[float]:
    """Of each retry, in milliseconds. Exits when one does not come, or too early."""
    lateness = Lateness(delay_s)
    settings = {"retry_schedule_s": str(delay_s), "retry_jitter": "0", "breaker_failures": "1000"}
    async with AsyncExitStack() as open_:
        folder = open_.enter_context(tempfile.TemporaryDirectory())
        service = await open_.enter_async_context(RunningService(Path(folder), settings))
        for first in range(0, endpoints, FRIENDS_AT_ONCE):
            numbers = range(first, min(first + FRIENDS_AT_ONCE, endpoints))
            await asyncio.gather(*(add(service, open_, lateness, number) for number in numbers))
        for _ in range(posts):
            await call(service, "POST", "/posts", {"author": "ann", "data": {"text": "hello"}})
            await asyncio.sleep(0.1)
        await until_all(lateness, endpoints * posts, delay_s)
    if lateness.early:
        sys.exit(f"{lateness.early} retries came before they were due")
    return lateness.late_ms


async def add(service: Service, open_: AsyncExitStack, lateness: Lateness, number: int) -> None:
    receiver = Receiver(plan=Plan(status=500, fail_first=1), on_request=lateness.take)
    await open_.enter_async_context(receiver)
    await call(service, "PUT", f"/users/ann/friends/friend-{number}")
    await call(service, "POST", "/endpoints", {"user": f"friend-{number}", "url": receiver.url})


async def until_all(lateness: Lateness, expected: int, delay_s: float) -> None:
    until_s = time.monotonic() + delay_s + 30
    while len(lateness.late_ms) < expected:
        if time.monotonic() > until_s:
            sys.exit(f"only {len(lateness.late_ms)} of {expected} retries came")
        await asyncio.sleep(0.05)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--endpoints", type=int, default=ENDPOINTS)
    options.add_argument("--posts", type=int, default=POSTS)
    options.add_argument("--delay", type=float, default=DELAY_S, help="s to the second attempt")
    chosen = options.parse_args()
    found = uvloop.run(_lateness(chosen.endpoints, chosen.posts, chosen.delay))
    shown = "   ".join(
        f"{name} {percentile(found, share):.1f} ms"
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    )
    print(
        f"{len(found)} retries, due {chosen.delay:g} s after the first attempt: late by   {shown}"
    )


if __name__ == "__main__":
    main()

"""What a load process is told and what it tells, as JSON lines on its pipes: the process's side.

An order is `{"number", "do", …}`, answered with `{"number", "answer"}` or `{"number", "failed"}`
when it has been carried out; several may be under way. Beside them it tells its samples every
second. The end of standard input is the order to end.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvloop

from app.commands.process import raise_file_limit
from scripts.load.samples import Samples

TELL_EVERY_S = 1.0
LINE_BYTES_MAX = 64 * 1024 * 1024

Order = dict[str, Any]
Deed = Callable[[Order], Awaitable[Any]]


def now_us() -> int:
    return time.monotonic_ns() // 1000


def run(deeds: Callable[[Samples], Mapping[str, Deed]]) -> None:
    """The whole life of a load process; `deeds` are what it can be told to do, by name."""
    raise_file_limit()
    gc.set_threshold(50_000, 20, 50)
    uvloop.run(_serve(deeds))


async def _serve(deeds: Callable[[Samples], Mapping[str, Deed]]) -> None:
    samples = Samples()
    desk = _Desk(deeds(samples), samples)
    telling = asyncio.create_task(desk.tell_samples(), name="samples")
    try:
        await desk.take_orders(await _standard_input())
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


class _Desk:
    def __init__(self, deeds: Mapping[str, Deed], samples: Samples) -> None:
        self._deeds = deeds
        self._samples = samples
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)

    async def take_orders(self, orders: asyncio.StreamReader) -> None:
        """Until there are no more; what is under way then is cut short."""
        doing: set[asyncio.Task[None]] = set()
        while line := await orders.readline():
            order = json.loads(line)
            task = asyncio.create_task(self._do(order), name=f"{order['do']} {order['number']}")
            doing.add(task)
            task.add_done_callback(doing.discard)
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)

    async def _do(self, order: Order) -> None:
        number = order["number"]
        try:
            answer = await self._deeds[order["do"]](order)
        except Exception as error:  # the script decides what is to become of it
            words = f"{type(error).__name__}: {error}"
            await self._tell({"number": number, "failed": words})
        else:
            # Whoever is answered has everything that was noted before.
            await self._tell({"number": number, "answer": answer, "samples": self._samples.take()})

    async def tell_samples(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if taken := self._samples.take():
                await self._tell({"samples": taken})

    async def _tell(self, told: dict[str, Any]) -> None:
        line = json.dumps(told).encode() + b"\n"
        await asyncio.to_thread(_write_all, self._out, line)


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

"""A push server that is a program of ours, told what to do: the program's side.

It is given lines of JSON, one at a time, and answers each with one.

    {"do": "listen"} → {"port"}
    {"do": "settle"} → {"pings"}: whether everybody is sent one
    {"do": "prepare", "payload", "times"} → {}
    {"do": "publish"} → {}
"""

import asyncio
import gc
import json
import sys
from typing import Any, Final, Protocol

LINE_BYTES_MAX: Final = 1 << 20


class Program(Protocol):
    """See `PushServer`, of which this is the other end."""

    async def listen(self) -> int: ...
    async def settle(self) -> bool: ...
    def prepare(self, payload: str, times: int) -> None: ...
    async def publish(self) -> None: ...


async def serve(program: Program) -> None:
    """Until there are no more orders."""
    orders = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        answer = await _obey(program, json.loads(line))
        print(json.dumps(answer), flush=True)


async def _obey(program: Program, order: dict[str, Any]) -> dict[str, int | bool]:
    match order["do"]:
        case "listen":
            return {"port": await program.listen()}
        case "settle":
            gc.collect()
            return {"pings": await program.settle()}
        case "prepare":
            program.prepare(order["payload"], order["times"])
        case "publish":
            await program.publish()
        case unknown:
            raise ValueError(f"nothing is known of {unknown!r}")
    return {}

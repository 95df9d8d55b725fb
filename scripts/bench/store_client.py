"""CPU of a round trip to the store: our client beside redis-py, on the bundled server.

    python scripts/bench/store_client.py [--calls 20000] [--rounds 3]

Rounds alternate A B A B; what is printed is the median, and the ratio of the two in the same run.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio
import uvloop

from app.store.client import connect
from app.store.embedded import EmbeddedServer

KEY, VALUE = b"{1}key", b"x" * 100


async def measure(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> float:
    """CPU of this process for one call, in microseconds."""

    async def one_after_the_other() -> None:
        for _ in range(calls // at_once):
            await call()

    began = time.process_time()
    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return (time.process_time() - began) / calls * 1e6


async def compare(url: str, path: str, calls: int, rounds: int) -> None:
    ours = connect(url)
    theirs = redis.asyncio.Redis(unix_socket_path=path)
    clients: dict[str, Callable[[], Awaitable[object]]] = {
        "ours": lambda: ours.execute("SET", KEY, VALUE),
        "redis-py": lambda: theirs.execute_command("SET", KEY, VALUE),
    }
    print(f"SET of {len(VALUE)} B, CPU of the client per call, median of {rounds} rounds")
    for at_once in (1, 50):
        found: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, call in clients.items():
                found[name].append(await measure(call, calls, at_once))
        middle = {name: statistics.median(times) for name, times in found.items()}
        ratio = middle["redis-py"] / middle["ours"]
        shown = "   ".join(f"{name} {time_us:6.1f} µs" for name, time_us in middle.items())
        print(f"{at_once:3} at once   {shown}   ratio {ratio:.1f}")
    await ours.close()
    await theirs.aclose()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--calls", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedServer(Path(directory))
        server.start()
        try:
            path = server.url.removeprefix("unix://")
            uvloop.run(compare(server.url, path, chosen.calls, chosen.rounds))
        finally:
            server.stop()


if __name__ == "__main__":
    main()

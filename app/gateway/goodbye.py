"""The end of all sockets, spread out so that their clients do not come back all at once."""

import asyncio
import random
from collections.abc import Sequence
from math import ceil
from typing import Final

from app.gateway.connection import Connection

STEP_S: Final = 0.05
RECONNECT_MS: Final = (100, 2_000)


async def say_goodbye(connections: Sequence[Connection], spread_s: float) -> None:
    """Tells everybody when to come back, and closes; in random order, over about `spread_s`."""
    order = random.sample(connections, len(connections))
    size = ceil(len(order) * STEP_S / spread_s) if spread_s > STEP_S else len(order)
    for start in range(0, len(order), max(size, 1)):
        if start:
            await asyncio.sleep(STEP_S * random.uniform(0.5, 1.5))
        for connection in order[start : start + size]:
            connection.leave("shutdown", random.randint(*RECONNECT_MS))

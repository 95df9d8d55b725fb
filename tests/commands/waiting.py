"""Waiting for what happens in another process or task."""

import asyncio


async def wait_until(question, within_s=10.0):
    """Returns what `question` returns as soon as that is true; fails when it never is."""
    async with asyncio.timeout(within_s):
        while not (answer := question()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return answer

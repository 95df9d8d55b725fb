"""What a subscription gives, so many at a time."""

import asyncio

from moments_client import Event, Subscription


async def take(subscription: Subscription, count: int) -> list[Event]:
    async with asyncio.timeout(10):
        return [await anext(subscription) for _ in range(count)]


def offsets(events: list[Event]) -> list[int]:
    return [event.offset for event in events]

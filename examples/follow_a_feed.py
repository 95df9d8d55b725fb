"""Follows a user's feed, and goes on where it stopped the last time.

    MOMENTS_KEY=mk_… python follow_a_feed.py bob

Where it is stands in a file, written once an event has been dealt with.
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

from moments_client import Gap, Moments, Position, PushedPost

URL = os.environ.get("MOMENTS_URL", "http://127.0.0.1:8000")
SOCKET_URL = os.environ.get("MOMENTS_SOCKET_URL", "ws://127.0.0.1:8001")


async def follow(user: str, bookmark: Path) -> None:
    position = Position(**json.loads(bookmark.read_text())) if bookmark.exists() else None
    async with (
        Moments(URL, os.environ["MOMENTS_KEY"], socket_url=SOCKET_URL) as moments,
        moments.subscribe(user, position=position, on_gap=tell_gap) as events,
    ):
        async for event in events:
            match event.post:
                case PushedPost(author=author, data=data):
                    print(event.offset, event.type, f"by {author}:", data, flush=True)
                case expired:
                    print(event.offset, event.type, f"{expired.id} is no longer kept", flush=True)
            bookmark.write_text(json.dumps({"offset": event.offset, "epoch": event.epoch}))


def tell_gap(gap: Gap) -> None:
    print(f"{gap.from_} to {gap.to} are no longer kept", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or "MOMENTS_KEY" not in os.environ:
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(follow(sys.argv[1], Path(f"{sys.argv[1]}.bookmark.json")))

"""Posts something, and watches it arrive at each recipient.

MOMENTS_KEY=mk_… python post_and_watch.py alice "hello, friends"
"""

import asyncio
import os
import sys

from moments_client import Moments

URL = os.environ.get("MOMENTS_URL", "http://127.0.0.1:8000")
WATCHED_S = 30.0


async def post_and_watch(author: str, text: str) -> None:
    async with Moments(URL, os.environ["MOMENTS_KEY"]) as moments:
        post = await moments.posts.create(author, {"text": text})
        print(f"{post.id} was accepted at {post.created_at:%H:%M:%S}", flush=True)
        told: dict[str, str] = {}
        async with asyncio.timeout(WATCHED_S):
            while not await all_settled(moments, post.id, told):
                await asyncio.sleep(0.2)


async def all_settled(moments: Moments, post: str, told: dict[str, str]) -> bool:
    """Prints each webhook whose state has changed. Sockets wait for who comes: they are counted."""
    pending = fanned_out = False
    async for page in moments.deliveries.of_post(post).pages():
        fanned_out = page.fanned_out
        for one in page.items:
            if one.channel == "webhook" and told.get(one.id) != one.state:
                told[one.id] = one.state
                print(f"{one.recipient}: {one.state}, attempts: {one.attempts}", flush=True)
            pending |= one.channel == "webhook" and one.state in ("pending", "retrying")
    return fanned_out and not pending


if __name__ == "__main__":
    if len(sys.argv) != 3 or "MOMENTS_KEY" not in os.environ:
        sys.exit(__doc__)
    asyncio.run(post_and_watch(sys.argv[1], sys.argv[2]))

"""The load process that posts: each post at its time, whether or not earlier ones are answered.

{"do": "open", "url", "key"}
{"do": "post", "phase", "begin_us", "authors": [name], "arrivals": [[at_us, author, kind]]}
    → {"accepted": [index], "refused": {status or error: count}}
{"do": "count"} → {"posts"}
"""

import asyncio
from collections import Counter
from typing import Any

from scripts.load.arrivals import TEXT_CHARS, Kind
from scripts.load.caller import Caller
from scripts.load.histogram import ACCEPTED
from scripts.load.mark import encode_mark
from scripts.load.orders import Deed, Order, now_us, run
from scripts.load.samples import Key, Samples

CONNECTIONS_MAX = 256
_TYPES = {Kind.LIKE: "like", Kind.COMMENT: "comment"}
_TEXTS = {kind: "x" * chars for kind, chars in TEXT_CHARS.items()}


def post_body(author: str, kind: Kind, due_us: int, phase: int) -> bytes:
    mark = encode_mark(due_us, phase, kind)
    type_ = _TYPES.get(kind, "post")
    return (
        f'{{"author":"{author}","type":"{type_}",'
        f'"data":{{"mark":"{mark}","text":"{_TEXTS[kind]}"}}}}'
    ).encode()


class Poster:
    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._posts = 0
        self._caller: Caller | None = None

    async def open(self, order: Order) -> None:
        self._caller = Caller(order["url"], order["key"], CONNECTIONS_MAX)

    async def count(self, order: Order) -> dict[str, int]:
        return {"posts": self._posts}

    async def post(self, order: Order) -> dict[str, Any]:
        phase, begin_us, authors = order["phase"], order["begin_us"], order["authors"]
        accepted: list[int] = []
        refused: Counter[str] = Counter()

        async def post_one(index: int, due_us: int, author: str, kind: Kind) -> None:
            body = post_body(author, kind, due_us, phase)
            reason = await self._send(body)
            if reason:
                refused[reason] += 1
                return
            accepted.append(index)
            key = Key(phase, due_us // 1_000_000, kind, ACCEPTED)
            self._samples.add(key, now_us() - due_us)

        async with asyncio.TaskGroup() as tasks:
            for index, (at_us, author, kind) in enumerate(order["arrivals"]):
                due_us = begin_us + at_us
                if (left_us := due_us - now_us()) > 0:
                    await asyncio.sleep(left_us / 1e6)
                tasks.create_task(post_one(index, due_us, authors[author], Kind(kind)))
        return {"accepted": sorted(accepted), "refused": dict(refused)}

    async def _send(self, body: bytes) -> str:
        """Why it was not accepted; nothing when it was."""
        assert self._caller is not None
        try:
            status, _ = await self._caller.call("POST", "/v1/posts", body)
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        if status != 202:
            return str(status)
        self._posts += 1
        return ""


def deeds(samples: Samples) -> dict[str, Deed]:
    poster = Poster(samples)
    return {"open": poster.open, "post": poster.post, "count": poster.count}


if __name__ == "__main__":
    run(deeds)

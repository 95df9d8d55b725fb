"""What kinds of keys take in a store."""

import asyncio

import redis

_AT_ONCE = 500


async def bytes_of_a_field(url: str, pattern: str) -> float:
    """Bytes for each field of the hashes that `pattern` names, with all that is around them; nan
    when there are none."""
    return await asyncio.to_thread(_measured, url, pattern)


def _measured(url: str, pattern: str) -> float:
    size = fields = 0
    with redis.Redis.from_url(url) as store:
        keys: list[bytes] = list(store.scan_iter(pattern, count=_AT_ONCE))
        for first in range(0, len(keys), _AT_ONCE):
            part = keys[first : first + _AT_ONCE]
            with store.pipeline(transaction=False) as calls:
                for key in part:
                    calls.memory_usage(key, samples=0)
                    calls.hlen(key)
                answers = calls.execute()
            size += sum(filter(None, answers[::2]))
            fields += sum(answers[1::2])
    return size / fields if fields else float("nan")

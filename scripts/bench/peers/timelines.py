"""Fan-out on write with redis-py, the usual way: a list for each follower, one pipeline a slice.

    python timelines.py ADDRESS

Told on standard input, a line of JSON each, and answered with one:

    {"follow": [[user]]} → {"authors"}: the followers of each author
    {"begin_us", "arrivals": [[at_us, author]], "manner"} → {"recipients"}

`manner`: `lists` puts the post's id into the lists; `ledger` also notes each recipient in a hash of
the post; `jobs` also queues a job for each. Neither makes sure that a slice is not done twice.
"""

import json
import sys
import time
from typing import Any

import redis

SLICE = 500
KEPT = 800  # entries of a list
RETENTION_S = 7 * 86_400
BODY = json.dumps({"text": "x" * 400})


class Timelines:
    def __init__(self, address: str) -> None:
        self._store = redis.Redis.from_url(address)

    def follow(self, authors: list[list[str]]) -> None:
        for number, followers in enumerate(authors):
            self._store.sadd(f"followers:{number}", *followers)

    def post(self, author: int, manner: str) -> int:
        """The number of recipients."""
        store, post = self._store, time.time_ns()
        store.hset(f"post:{post}", mapping={"author": author, "body": BODY})
        store.expire(f"post:{post}", RETENTION_S)
        found: Any = store.smembers(f"followers:{author}")
        followers = [user.decode() for user in found]
        for first in range(0, len(followers), SLICE):
            self._slice(post, followers[first : first + SLICE], manner)
        if manner != "lists":
            store.expire(f"ledger:{post}", RETENTION_S)
        return len(followers)

    def _slice(self, post: int, followers: list[str], manner: str) -> None:
        pipeline = self._store.pipeline(transaction=False)
        for user in followers:
            timeline = f"timeline:{user}"
            pipeline.lpush(timeline, post)
            pipeline.ltrim(timeline, 0, KEPT - 1)
            if manner != "lists":
                pipeline.hset(f"ledger:{post}", user, "pending")
            if manner == "jobs":
                pipeline.rpush("jobs", f"{post} {user}")
        pipeline.execute()

    def carry_out(self, order: dict[str, Any]) -> dict[str, int]:
        if "follow" in order:
            self.follow(order["follow"])
            return {"authors": len(order["follow"])}
        recipients = 0
        for at_us, author in order["arrivals"]:
            due_us = order["begin_us"] + at_us
            time.sleep(max(0.0, due_us / 1e6 - time.monotonic()))
            recipients += self.post(author, order["manner"])
        return {"recipients": recipients}


def main() -> None:
    timelines = Timelines(sys.argv[1])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(timelines.carry_out(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

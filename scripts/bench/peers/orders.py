"""What a producer is told, a line of JSON each, and the posts that it has to make.

    {"begin_us", "arrivals": [[at_us, author]]} → {"tasks"}

`begin_us` is of the system's monotonic clock. Whom the posts go to is in the file that the
environment names: `{"recipients": [[url, secret]], "circles": [[number of a recipient]]}`, the
circles by author.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webhook import payload


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a task is given."""

    url: str
    id: str
    payload: dict[str, Any]
    secret: str


@dataclass(frozen=True, slots=True)
class Post:
    author: int
    due_us: int
    id: str

    @property
    def left_s(self) -> float:
        """Until it is due."""
        return max(0.0, (self.due_us - time.monotonic_ns() // 1000) / 1e6)


class Audiences:
    def __init__(self) -> None:
        told = json.loads(Path(os.environ["BENCH_AUDIENCES"]).read_text())
        self._recipients: list[tuple[str, str]] = told["recipients"]
        self._circles: list[list[int]] = told["circles"]

    def deliveries(self, post: Post) -> Iterator[Delivery]:
        for number in self._circles[post.author]:
            url, secret = self._recipients[number]
            fields = payload(post.id, post.author, number, post.due_us)
            yield Delivery(url, f"{post.id}-{number}", fields, secret)


def read_posts(line: str) -> list[Post]:
    order = json.loads(line)
    return [
        Post(author, order["begin_us"] + at_us, uuid.uuid4().hex)
        for at_us, author in order["arrivals"]
    ]


def answer(tasks: int) -> None:
    sys.stdout.write(json.dumps({"tasks": tasks}) + "\n")
    sys.stdout.flush()

"""Calls to the apis as a client makes them: again on a lost answer or 503, each time to any api."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from scripts.chaos.http import CallLost, Server

CONNECT_S = 1.0
ANSWER_S = 2.0  # less than a process is stopped for: then the answer is lost
PAUSE_S = (0.05, 0.5)
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is the JSON of the answer, None without one. `tries` were made."""

    status: int
    body: Any
    tries: int


class Caller:
    """`async with Caller(urls, key)`. `refusals` counts what was tried again, by reason."""

    def __init__(self, urls: Sequence[str], key: str, random: random.Random) -> None:
        self.refusals: Counter[str] = Counter()
        self._random = random
        headers = {"authorization": f"Bearer {key}"}
        self._servers = [
            Server(url, headers, connect_s=CONNECT_S, answer_s=ANSWER_S) for url in urls
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            await server.close()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The first answer that is none of "try again"; tries until there is one."""
        if body is not None:
            content, headers = json.dumps(body).encode(), {**_JSON, **(headers or {})}
        tries = 0
        while True:
            tries += 1
            server = self._random.choice(self._servers)
            try:
                status, raw = await server.request(method, path, content, headers or {})
            except CallLost as lost:
                self.refusals[str(lost)] += 1
            else:
                if status != 503:
                    return Answer(status, json.loads(raw) if raw else None, tries)
                self.refusals["503"] += 1
            await asyncio.sleep(self._random.uniform(*PAUSE_S))

    async def get(self, path: str) -> Any:
        """The body of a 200, None for a 404. Raises CallRefused for anything else."""
        answer = await self.call("GET", path)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise CallRefused("GET", path, answer)
        return answer.body

    async def must(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """The body of a success. Raises CallRefused."""
        answer = await self.call(method, path, body, **more)
        if answer.status >= 300:
            raise CallRefused(method, path, answer)
        return answer.body


class CallRefused(Exception):
    """A call was answered as it never should be here."""

    def __init__(self, method: str, path: str, answer: Answer) -> None:
        super().__init__(f"{method} {path} was answered {answer.status}: {answer.body}")

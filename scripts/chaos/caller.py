"""Calls to the apis as a client makes them: again on a lost answer or 503, each time to any api."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

CONNECT_S = 1.0
ANSWER_S = 4.0
PAUSE_S = (0.05, 0.5)
CONNECTIONS_MAX = 64


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
        self._urls = urls
        self._random = random
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The first answer that is none of "try again"; tries until there is one."""
        tries = 0
        while True:
            tries += 1
            url = self._random.choice(self._urls) + path
            try:
                answer = await self._http.request(
                    method, url, json=body, content=content, headers=headers
                )
            except httpx.TransportError as error:
                self.refusals[type(error).__name__] += 1
            else:
                if answer.status_code != 503:
                    found = answer.json() if answer.content else None
                    return Answer(answer.status_code, found, tries)
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

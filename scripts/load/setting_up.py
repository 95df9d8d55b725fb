"""Brings people into the service: friendships, endpoints and tokens, through its api."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, TypeVar

from app.errors import CommandFailed
from app.tokens import make_token
from scripts.load.caller import Answer, Caller
from scripts.load.groups import Group
from scripts.load.workload import Workload

IMPORT_LINES = 20_000  # in one call
AT_ONCE = 16
TOKEN_TTL_S = 24 * 3_600

T = TypeVar("T")
R = TypeVar("R")
Advance = Callable[[int], None]


async def befriend(caller: Caller, workload: Workload, advance: Advance) -> None:
    lines = _edges(workload)
    while batch := list(islice(lines, IMPORT_LINES)):
        body = b"\n".join(batch)
        answer = _read(await caller.call("POST", "/v1/graph:import", body, "application/x-ndjson"))
        if answer["errors"]:
            raise CommandFailed(f"a friendship was refused: {answer['errors'][0]}")
        advance(len(batch))


def _edges(workload: Workload) -> Iterator[bytes]:
    for author in workload.authors:
        for friend in author.friends:
            edge = {"kind": "friend", "a": author.name, "b": workload.people[friend]}
            yield json.dumps(edge).encode()


async def register(
    caller: Caller,
    workload: Workload,
    urls: Mapping[Group, Sequence[str]],
    advance: Advance,
) -> list[str]:
    """One endpoint for each person in these groups, the URLs of a group in turn; their ids."""
    wanted: list[tuple[str, str]] = []
    for group, of_group in urls.items():
        members = [workload.people[number] for number in workload.members(group)]
        wanted += zip(members, cycle(of_group))

    async def make(one: tuple[str, str]) -> str:
        user, url = one
        body = {"user": user, "url": url, "types": ["*"]}
        answer = await caller.call("POST", "/v1/endpoints", json.dumps(body).encode())
        advance(1)
        return _read(answer)["id"]

    return await _each(wanted, make)


async def unregister(caller: Caller, endpoints: Sequence[str], advance: Advance) -> None:
    async def remove(id_: str) -> None:
        _read(await caller.call("DELETE", f"/v1/endpoints/{id_}"))
        advance(1)

    await _each(endpoints, remove)


async def tokens(
    caller: Caller, users: Sequence[str], secret: str | None, advance: Advance
) -> list[str]:
    """Made here when we know the secret, else asked for."""
    if secret is not None:
        advance(len(users))
        return [make_token(secret, user, ttl_s=TOKEN_TTL_S) for user in users]

    async def ask(user: str) -> str:
        body = json.dumps({"ttl_s": TOKEN_TTL_S}).encode()
        answer = await caller.call("POST", f"/v1/users/{user}/tokens", body)
        advance(1)
        return _read(answer)["token"]

    return await _each(users, ask)


async def _each(items: Sequence[T], do: Callable[[T], Awaitable[R]]) -> list[R]:
    """Some at once; the results in the order of the items."""
    results: dict[int, R] = {}
    left = iter(enumerate(items))

    async def work() -> None:
        for number, item in left:
            results[number] = await do(item)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())
    return [results[number] for number in range(len(items))]


def _read(answer: Answer) -> Any:
    """Raises CommandFailed for anything but a success."""
    if answer.status >= 300:
        words = answer.body.decode(errors="replace")[:300]
        raise CommandFailed(f"the api answered {answer.status}: {words}")
    return json.loads(answer.body) if answer.body else None

"""What the service itself says in the end, read through its api: posts, deliveries, inboxes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from scripts.chaos.caller import Caller

PAGE = 200
CALLS_AT_ONCE = 8
LOOK_AGAIN_S = 0.5
FINAL = frozenset({"delivered", "dead", "suppressed", "cancelled"})

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery. `endpoint` None: by socket."""

    id: str
    version: int
    recipient: str
    offset: int
    endpoint: str | None
    state: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Account:
    """All that is said of one post."""

    version: int
    is_deleted: bool
    data: dict[str, Any] | None
    fanned_out: bool
    counts: dict[str, int]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Entry:
    offset: int
    type: str
    post: str


@dataclass(frozen=True, slots=True)
class InboxRead:
    """A whole inbox. `first_gap` is what a page said was trimmed away."""

    head: int
    cursor: int
    entries: Sequence[Entry]
    first_gap: dict[str, int] | None


async def read_account(caller: Caller, post: str) -> Account | None:
    """None: there is no such post."""
    found = await caller.get(f"/v1/posts/{post}")
    if found is None:
        return None
    rows: list[Row] = []
    path = f"/v1/posts/{post}/deliveries?limit={PAGE}"
    after: str | None = ""
    page: dict[str, Any] = {}
    while after is not None:
        page = await caller.get(path + after)
        rows += [_row(item) for item in page["items"]]
        after = f"&after={quote(page['next'], safe='')}" if page["next"] else None
    return Account(
        found["version"],
        found.get("deleted", False),
        found["data"],
        page["fanned_out"],
        page["counts"],
        rows,
    )


def _row(item: dict[str, Any]) -> Row:
    return Row(
        item["id"],
        item["version"],
        item["recipient"],
        item["offset"],
        item.get("endpoint"),
        item["state"],
        item["attempts"],
    )


async def settled_account(
    caller: Caller, post: str, listening: frozenset[str], until_s: float
) -> Account | None:
    """The account once every delivery of it has come to its end, or as it is at `until_s`, in
    loop time."""
    loop = asyncio.get_running_loop()
    while True:
        account = await read_account(caller, post)
        if account is None or _is_settled(account, listening) or loop.time() >= until_s:
            return account
        await asyncio.sleep(LOOK_AGAIN_S)


def _is_settled(account: Account, listening: frozenset[str]) -> bool:
    return account.fanned_out and all(
        row.state in FINAL or (row.endpoint is None and row.recipient not in listening)
        for row in account.rows
    )


async def read_inbox(caller: Caller, user: str) -> InboxRead:
    entries: list[Entry] = []
    gap: dict[str, int] | None = None
    after = 0
    while True:
        page = await caller.get(f"/v1/users/{user}/feed?after={after}&limit={PAGE}")
        gap = gap or page.get("gap")
        entries += [Entry(i["offset"], i["type"], i["post"]["id"]) for i in page["items"]]
        if not page["items"] or page["next_offset"] >= page["head_offset"]:
            return InboxRead(page["head_offset"], page["cursor"], entries, gap)
        after = page["next_offset"]


async def for_each(keys: Iterable[K], make: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """What `make` gives for each key, some at once."""
    turn = asyncio.Semaphore(CALLS_AT_ONCE)

    async def in_turn(key: K) -> tuple[K, T]:
        async with turn:
            return key, await make(key)

    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(in_turn(key)) for key in keys]
    return dict(task.result() for task in made)

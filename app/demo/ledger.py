"""What the service's ledger says of the demo's posts, read through its api."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.commands.api_client import ApiClient
from app.demo.cast import Cast, Manner

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Posted:
    """A post as the api answered it. `accepted_ms` is Unix time, by the service's clock."""

    id: str
    author: str
    accepted_ms: int

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Posted":
        created_at = datetime.fromisoformat(answer["created_at"])
        return cls(answer["id"], answer["author"], round(created_at.timestamp() * 1000))


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery."""

    id: str
    recipient: str
    channel: str
    state: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Account:
    """All that the ledger says of one post."""

    post: Posted
    fanned_out: bool
    counts: dict[str, int]
    rows: Sequence[Row]

    def of(self, channel: str) -> list[Row]:
        return [row for row in self.rows if row.channel == channel]

    @property
    def counted(self) -> Counter[str]:
        """The rows by state, to hold against `counts`."""
        return Counter(row.state for row in self.rows)


async def read_account(api: ApiClient, post: Posted) -> Account:
    rows: list[Row] = []
    path = f"/v1/posts/{post.id}/deliveries?limit={_PAGE}"
    after: str | None = ""
    answer: dict[str, Any] = {}
    while after is not None:
        answer = await asyncio.to_thread(api.call, "GET", path + after)
        rows += [_row(item) for item in answer["items"]]
        after = f"&after={quote(answer['next'], safe='')}" if answer["next"] else None
    return Account(post, answer["fanned_out"], answer["counts"], rows)


def _row(item: dict[str, Any]) -> Row:
    return Row(item["id"], item["recipient"], item["channel"], item["state"], item["attempts"])


def is_settled(account: Account, cast: Cast) -> bool:
    """Nothing of this post is on its way any more: what is open waits for somebody to come back."""
    sockets = set(cast.sockets)
    return account.fanned_out and not any(
        row.state in ("pending", "retrying") and not _waits(row, cast, sockets)
        for row in account.rows
    )


def _waits(row: Row, cast: Cast, sockets: set[str]) -> bool:
    if row.channel == "socket":
        return row.recipient not in sockets
    return cast.manners[row.recipient] is Manner.GONE

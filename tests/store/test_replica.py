"""Writes that wait for a replica: whoever comes again waits for what was written the first time."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.post import Event, EventKind
from app.errors import NotDurable
from app.store import keys
from app.store.client import Store
from app.wire import encode_event, encode_users
from tests.opened_store import opened
from tests.store.service import ANYBODY, NOW_MS, Service
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until

ACK_TIMEOUT_MS = 100
POST = "01k2v3w4x5y6z7a800"


class Pair:
    """A primary, and a replica that can be made to lag: connected, but confirming nothing."""

    def __init__(self, directory: Path) -> None:
        first, second = free_ports(2)
        quick = {"repl_diskless_sync_delay": "0", "shutdown_timeout": "0"}
        self.primary = TcpServer(directory / "primary", first, **quick)
        follow = f"127.0.0.1 {first}"
        self.replica = TcpServer(directory / "replica", second, replicaof=follow, **quick)
        block_until(lambda: self.primary.answers() and self.replica.answers())
        block_until(self.is_in_step, 20)

    def is_in_step(self) -> bool:
        return self.replica.admin.info("replication")["master_link_status"] == "up"

    @property
    def url(self) -> str:
        return f"redis://{self.primary.address}"

    def lag(self) -> None:
        self.replica.process.send_signal(signal.SIGSTOP)

    def catch_up(self) -> None:
        self.replica.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.catch_up()
        self.replica.stop()
        self.primary.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.stop()


async def accept(store: Store) -> Any:
    posts = Service.on(store, ack="replica").posts
    return await posts.accept("ann", "post", b"{}", ANYBODY, idempotency="k", now_ms=NOW_MS)


async def accept_lost(store: Store) -> Any:
    """The very call that was sent before, as when its first answer was lost."""
    fields = ["author", "ann", "type", "post", "version", 1]
    fields += ["created_at", NOW_MS, "updated_at", NOW_MS, "data", b"{}"]
    return await store.call(
        "accept_post",
        [keys.post(0, POST), keys.posts(0)],
        [encode_event(Event(POST, 1, EventKind.CREATED)), "ann", 60, 100, 60, POST, "", *fields],
        durable="replica",
    )


async def edit(store: Store) -> Any:
    args = [EventKind.UPDATED.value, POST, b"{}", 9, 100, NOW_MS, "the same request"]
    return await store.call(
        "change_post", [keys.post(0, POST), keys.posts(0)], args, durable="replica"
    )


async def delete(store: Store) -> Any:
    return await Service.on(store, ack="replica").posts.delete(POST, NOW_MS)


async def fan_out(store: Store) -> Any:
    named = [keys.roster(0, POST, 1, 0), keys.tally(0, POST), keys.routes(0), keys.trimmed(0)]
    event = encode_event(Event(POST, 1, EventKind.CREATED))
    args = [keys.tag(0), event, "post.created", 0, 60, 100, 80, 100, 120, encode_users(["bob"])]
    return await store.call("fan_out", [*named, keys.deliveries(0)], args, durable="replica")


@pytest.mark.parametrize("write", [accept, accept_lost, edit, delete, fan_out])
async def test_what_was_written_before_on_another_connection_is_waited_for_too(
    pair: Pair, write: Callable[[Store], Awaitable[Any]]
) -> None:
    async with (
        opened(pair.url, ack_timeout_ms=ACK_TIMEOUT_MS) as first,
        opened(pair.url, ack_timeout_ms=ACK_TIMEOUT_MS) as again,
    ):
        if write in (edit, delete):
            await accept_lost(first)
        pair.lag()
        with pytest.raises(NotDurable, match="in 100 ms"):
            await write(first)
        with pytest.raises(NotDurable):
            await write(again)
        pair.catch_up()
        await write(again)

"""Keys find their server in a cluster, also while slots move."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from app.errors import Redirected, StoreUnavailable, StoreUnfit
from app.store.client import Call
from app.store.topology import slot_of
from tests.opened_store import opened
from tests.store_servers import StoreCluster, TcpServer, free_ports
from tests.wait import wait_until

pytestmark = pytest.mark.usefixtures("scripts")

KEY, OTHER = b"count:{7}", b"other:{7}"
SLOT = slot_of(KEY)


@pytest.mark.parametrize(
    "key",
    [b"meta", b"posts:{7}", b"{}x", b"a{b}{c}", b"a{b", b"{{x}}", b"", b"\xff{\x00}", b"x}{y}"],
)
def test_the_slot_of_a_key_is_that_of_the_specification(key: bytes) -> None:
    assert slot_of(key) == key_slot(key)


@dataclass(frozen=True)
class Move:
    """The slot of `KEY` with one server of the cluster, and another that could have it."""

    everywhere: list[redis.Redis]
    source: redis.Redis
    target: redis.Redis
    source_id: str
    target_id: str

    def begin(self) -> None:
        _set_slot(self.target, "IMPORTING", self.source_id)
        _set_slot(self.source, "MIGRATING", self.target_id)

    def give_to(self, node_id: str) -> None:
        # A newer epoch than the other's claim has, and before it is needed: else what the servers
        # tell each other undoes it.
        owner = self.source if node_id == self.source_id else self.target
        owner.execute_command("CLUSTER", "BUMPEPOCH")
        for server in self.everywhere:
            _set_slot(server, "NODE", node_id)


def _set_slot(server: redis.Redis, state: str, node_id: str) -> None:
    server.execute_command("CLUSTER", "SETSLOT", SLOT, state, node_id)


@pytest.fixture
def move(store_cluster: StoreCluster) -> Iterator[Move]:
    everywhere = [server.admin for server in store_cluster.servers]
    source = everywhere[SLOT * 3 // 16_384]
    target = everywhere[(SLOT * 3 // 16_384 + 1) % 3]
    ids = [s.execute_command("CLUSTER", "MYID").decode() for s in (source, target)]
    for server in everywhere:
        server.flushall()
    move = Move(everywhere, source, target, *ids)
    move.give_to(move.source_id)
    yield move
    for server in everywhere:
        server.flushall()
        server.execute_command("CLUSTER", "SETSLOT", SLOT, "STABLE")
    move.give_to(move.source_id)


async def test_a_call_follows_a_slot_that_has_moved(
    store_cluster: StoreCluster, move: Move
) -> None:
    async with opened(store_cluster.url) as store:
        assert await store.call("add", [KEY], [1]) == 1
        move.source.delete(KEY)
        move.give_to(move.target_id)
        calls = [Call("add", [b"count:{%d}" % shard], [1]) for shard in range(16)]
        assert await store.call_many(calls) == [1] * 16
        assert await store.execute("GET", KEY) == b"1"
        assert move.target.get(KEY) == b"1"


async def test_a_blocking_read_follows_a_slot_that_has_moved(
    store_cluster: StoreCluster, move: Move
) -> None:
    async with opened(store_cluster.url) as store:
        await store.read_streams({KEY: b"0"}, count=1, block_ms=1)
        move.give_to(move.target_id)
        move.target.execute_command("XADD", KEY, "1-0", "k", "v")
        read = await store.read_streams({KEY: b"0"}, count=1, block_ms=1000)
        assert read == {KEY: [[b"1-0", [b"k", b"v"]]]}


async def test_a_call_asks_over_there_for_a_key_on_its_way(
    store_cluster: StoreCluster, move: Move
) -> None:
    async with opened(store_cluster.url) as store:
        await store.broadcast("SCRIPT", "FLUSH")  # asked over there, it must be loaded there
        move.begin()
        assert await store.call("add", [KEY], [5]) == 5
        assert await store.execute("INCR", KEY) == 6
        move.source.execute_command("CLUSTER", "SETSLOT", SLOT, "STABLE")
        assert await store.execute("GET", KEY) is None  # it really was written over there


async def test_keys_on_both_sides_of_a_move_are_tried_again_until_they_are_together(
    store_cluster: StoreCluster, move: Move
) -> None:
    async with opened(store_cluster.url) as store:
        await store.execute("SET", KEY, 1)
        move.begin()
        calling = asyncio.create_task(store.call("both", [KEY, OTHER]))
        await asyncio.sleep(0.06)  # it has been told to try again by now
        assert not calling.done()
        move.source.execute_command("CLUSTER", "SETSLOT", SLOT, "STABLE")
        assert await calling == [1, 0]


async def test_keys_that_stay_apart_are_given_up(store_cluster: StoreCluster, move: Move) -> None:
    async with opened(store_cluster.url) as store:
        await store.execute("SET", KEY, 1)
        move.begin()
        with pytest.raises(Redirected, match="TRYAGAIN"):
            await store.call("both", [KEY, OTHER])
    assert issubclass(Redirected, StoreUnavailable)


async def test_one_reachable_server_is_enough_to_find_a_cluster(
    store_cluster: StoreCluster,
) -> None:
    [dead] = free_ports(1)
    alive = store_cluster.servers[2].address
    async with opened(f"redis+cluster://127.0.0.1:{dead},{alive}") as store:
        assert len(await store.broadcast("PING")) == 3


async def test_the_url_of_a_single_server_that_is_in_a_cluster_is_refused(
    store_cluster: StoreCluster,
) -> None:
    async with opened(f"redis://{store_cluster.servers[0].address}") as store:
        with pytest.raises(StoreUnfit, match=r"write redis\+cluster://"):
            await store.run_many([("GET", b"key:{%d}" % shard) for shard in range(16)])


async def test_the_url_of_a_cluster_that_is_none_is_refused(tmp_path: Path) -> None:
    server = TcpServer(tmp_path, *free_ports(1))
    try:
        await wait_until(server.answers)
        async with opened(f"redis+cluster://{server.address}") as store:
            with pytest.raises(StoreUnfit, match="write redis:// instead"):
                await store.execute("GET", KEY)
    finally:
        server.stop()


async def test_a_cluster_whose_server_died_serves_the_other_slots(
    tmp_path: Path, scripts: None
) -> None:
    cluster = StoreCluster(tmp_path, cluster_require_full_coverage="no")
    try:
        cluster.join()
        async with opened(cluster.url, connect_timeout_s=0.5) as store:
            calls = [Call("add", [b"count:{%d}" % shard], [1]) for shard in range(16)]
            assert await store.call_many(calls) == [1] * 16
            cluster.servers[0].stop()
            replies = await store.call_many(calls, return_exceptions=True)
            failed = [isinstance(reply, StoreUnavailable) for reply in replies]
            expected = [slot_of(call.keys[0]) * 3 < 16_384 for call in calls]
            assert failed == expected
            assert any(expected)
    finally:
        cluster.stop()

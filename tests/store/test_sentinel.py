"""A store behind a Sentinel, before and after a failover."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from app.errors import StoreUnavailable
from tests.opened_store import opened
from tests.store_servers import Sentinel, TcpServer, free_ports
from tests.wait import block_until, wait_until

pytestmark = pytest.mark.usefixtures("scripts")

KEY = b"count:{1}"


class Group:
    """A primary, its replica, and the Sentinel that watches them."""

    def __init__(self, directory: Path) -> None:
        first, second, third = free_ports(3)
        quick = {"repl_diskless_sync_delay": "0", "shutdown_timeout": "0"}
        follow = f"127.0.0.1 {first}"
        self.primary = TcpServer(directory / "primary", first, **quick)
        self.replica = TcpServer(directory / "replica", second, replicaof=follow, **quick)
        block_until(lambda: self.primary.answers() and self.replica.answers())
        self.sentinel = Sentinel(directory / "sentinel", third, self.primary)
        block_until(self.sentinel.answers)

    def replica_is_in_sync(self) -> bool:
        return self.replica.admin.info("replication")["master_link_status"] == "up"

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.address}/moments"

    def stop(self) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.stop()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path)
    yield group
    group.stop()


async def test_the_primary_is_found_and_found_again_after_a_failover(group: Group) -> None:
    await wait_until(group.replica_is_in_sync)
    async with opened(group.url) as store:
        assert await store.call("add", [KEY], [1]) == 1
        assert await store.call("add", [KEY], [1], durable="replica") == 2
        reading = await store.read_streams({b"news:{1}": b"$"}, count=1, block_ms=1)
        assert reading == {}
        await wait_until(lambda: _fails_over(group), timeout_s=20)
        await wait_until(lambda: _port_of_primary(group) == group.replica.port)
        # The Sentinel would do this within ten seconds.
        group.primary.admin.replicaof("127.0.0.1", group.replica.port)
        assert await store.call("add", [KEY], [1]) == 3
        assert await store.execute("INCR", KEY) == 4
        assert group.replica.admin.get(KEY) == b"4"


async def test_a_connection_to_a_demoted_server_is_not_used_for_reads_either(
    group: Group,
) -> None:
    """A Sentinel may name for a while a primary that is none any more."""
    async with opened(group.url) as store:
        group.primary.admin.replicaof("127.0.0.1", group.replica.port)
        with pytest.raises(StoreUnavailable, match="is not the primary of moments"):
            await store.execute("GET", KEY)
        group.primary.admin.replicaof("NO", "ONE")
        assert await store.execute("GET", KEY) is None


async def test_a_service_that_no_sentinel_knows_is_unavailable_and_named(group: Group) -> None:
    [dead] = free_ports(1)
    url = f"redis+sentinel://127.0.0.1:{dead},{group.sentinel.address}/posts"
    async with opened(url) as store:
        with pytest.raises(StoreUnavailable, match=f"posts.*{dead}.*does not know it"):
            await store.execute("GET", KEY)


def _fails_over(group: Group) -> bool:
    with suppress(redis.ResponseError):  # it has not seen yet that the replica is in sync
        group.sentinel.admin.execute_command("SENTINEL", "FAILOVER", "moments")
        return True
    return False


def _port_of_primary(group: Group) -> int:
    command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "moments")
    return int(group.sentinel.admin.execute_command(*command)[1])

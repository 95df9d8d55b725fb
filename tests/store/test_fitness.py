"""A store that would lose what it is given is refused, or warned of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import StoreUnfit
from app.store import fitness
from app.store.client import Store
from app.store.fitness import check_fitness
from tests.opened_store import opened
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TcpServer]:
    server = TcpServer(tmp_path, *free_ports(1), appendonly="yes")
    block_until(server.answers)
    yield server
    server.stop()


async def test_the_bundled_server_is_fit(store: Store) -> None:
    assert await check_fitness(store) == []


async def test_a_store_that_evicts_is_refused(server: TcpServer) -> None:
    server.admin.config_set("maxmemory-policy", "volatile-ttl")
    async with opened(f"redis://{server.address}") as store:
        with pytest.raises(StoreUnfit, match=r"volatile-ttl.*CONFIG SET maxmemory-policy noevict"):
            await check_fitness(store)


async def test_a_store_without_an_append_only_file_is_warned_of(server: TcpServer) -> None:
    server.admin.config_set("appendonly", "no")
    async with opened(f"redis://{server.address}") as store:
        [warning] = await check_fitness(store)
        assert "CONFIG SET appendonly yes" in warning
        with pytest.raises(StoreUnfit, match="MOMENTS_ACK is fsync"):
            await check_fitness(store, "fsync")


async def test_a_server_that_counts_written_as_synced_must_sync_always(
    server: TcpServer,
) -> None:
    async with opened(f"redis://{server.address}") as store:
        with pytest.raises(StoreUnfit, match=r"appendfsync everysec.*appendfsync always"):
            await check_fitness(store, "fsync")
        server.admin.config_set("appendfsync", "always")
        assert await check_fitness(store, "fsync") == []
        server.admin.config_set("appendfsync", "no")
        with pytest.raises(StoreUnfit, match="appendfsync no"):
            await check_fitness(store, "fsync")


async def test_waiting_for_replicas_that_do_not_exist_is_warned_of(server: TcpServer) -> None:
    async with opened(f"redis://{server.address}") as store:
        [warning] = await check_fitness(store, "replica")
    assert "a server has none" in warning


async def test_an_old_server_is_refused(
    single_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "VERSION_MIN", (7, 3))
    with pytest.raises(StoreUnfit, match=r"Redis 7\.2\.4; 7\.2 or newer"):
        await check_fitness(single_store)


async def test_what_may_not_be_seen_is_warned_of(server: TcpServer) -> None:
    rights = {"passwords": ["+p"], "keys": "*", "enabled": True}
    server.admin.acl_setuser("noinfo", commands=["+@all", "-info"], **rights)
    server.admin.acl_setuser("noconfig", commands=["+@all", "-config"], **rights)
    async with opened(f"redis://noinfo:p@{server.address}") as store:
        [warning] = await check_fitness(store)
        assert "does not allow INFO" in warning
    async with opened(f"redis://noconfig:p@{server.address}") as store:
        assert await check_fitness(store) == []
        [warning] = await check_fitness(store, "fsync")
        assert "appendfsync cannot be read" in warning

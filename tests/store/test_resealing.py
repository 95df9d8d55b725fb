"""Resealing: nothing is lost, whatever happens meanwhile, and then the older key is not needed."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.sealing import Sealer
from app.store import keys, resealing
from app.store.client import Call, Store
from app.store.endpoints import Endpoint
from app.store.resealing import Progress, Resealing
from app.store.vault import Secret, Vault
from tests.store.service import NOW_MS, SHARDS, Service, users_of

OLD, NEW = b"o" * 32, b"n" * 32
USERS = [user for shard in range(SHARDS) for user in users_of(shard, 3)]
HEADERS = {"authorization": "Bearer planted"}


class Watched:
    """The store, with what is done just before fields are replaced, and how much goes at once."""

    def __init__(self, store: Store, before: Callable[[], Awaitable[Any]] | None = None) -> None:
        self._store = store
        self._before = before
        self.most = 0

    async def execute(self, *command: Any) -> Any:
        return await self._store.execute(*command)

    async def run_many(self, commands: Sequence[Any]) -> list[Any]:
        self.most = max(self.most, len(commands))
        return await self._store.run_many(commands)

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        if self._before is not None:
            before, self._before = self._before, None
            await before()
        return await self._store.call_many(calls)


def with_keys(store: Store, *sealing: bytes) -> Service:
    return Service.on(store, sealer=Sealer(*sealing))


async def make_all(store: Store) -> list[Endpoint]:
    """Endpoints sealed with the old key, every other one with headers."""
    service = with_keys(store, OLD)
    return [
        await service.endpoint(user, headers=HEADERS if number % 2 else {})
        for number, user in enumerate(USERS)
    ]


async def reseal(store: Any, *sealing: bytes) -> Progress:
    async for progress in Resealing(store, SHARDS, Vault(Sealer(*sealing))).steps():
        last = progress
    return last


async def read_with(store: Store, key: bytes, made: Sequence[Endpoint]) -> list[Endpoint]:
    found = await with_keys(store, key).endpoints.get_many([endpoint.id for endpoint in made])
    return [found[endpoint.id] for endpoint in made]


async def test_after_it_the_newest_key_opens_all_and_the_old_one_nothing(store: Store) -> None:
    made = await make_all(store)
    progress = await reseal(store, NEW, OLD)
    assert (progress.seen, progress.resealed, progress.lost) == (len(made), len(made), 0)
    assert await read_with(store, NEW, made) == made
    assert all(endpoint.secrets == () for endpoint in await read_with(store, OLD, made))
    assert {e.headers is None for e in await read_with(store, OLD, made[1::2])} == {True}
    again = await reseal(store, NEW)
    assert (again.seen, again.resealed, again.lost) == (len(made), 0, 0)


async def test_stopped_half_way_it_has_lost_nothing_and_goes_on_with_the_rest(
    store: Store,
) -> None:
    made = await make_all(store)
    async for progress in Resealing(store, SHARDS, Vault(Sealer(NEW, OLD))).steps():
        if progress.seen >= len(made) // 2:
            break
    first = progress.resealed
    assert 0 < first < len(made)
    service = with_keys(store, NEW, OLD)
    found = await service.endpoints.get_many([endpoint.id for endpoint in made])
    assert [found[endpoint.id] for endpoint in made] == made
    assert (await reseal(store, NEW, OLD)).resealed == len(made) - first
    assert await read_with(store, NEW, made) == made


async def test_what_is_changed_meanwhile_keeps_its_change(store: Store) -> None:
    made = await make_all(store)
    secret, headers = "whsec_" + "c" * 32, {"x-key": "changed"}

    async def change_all() -> None:
        service = with_keys(store, NEW, OLD)
        for endpoint in made:
            await service.endpoints.rotate(endpoint.id, secret, 60, NOW_MS)
            await service.endpoints.change(endpoint.id, {"headers": headers})

    await reseal(Watched(store, change_all), NEW, OLD)
    for before, after in zip(made, await read_with(store, NEW, made), strict=True):
        assert after.secrets == (Secret(secret), Secret(before.secrets[0].value, NOW_MS + 60_000))
        assert after.headers == headers


async def test_what_an_older_process_seals_meanwhile_is_found_and_read_again(store: Store) -> None:
    made = await make_all(store)

    async def change_all() -> None:
        service = with_keys(store, OLD)
        for endpoint in made:
            await service.endpoints.change(endpoint.id, {"headers": {"x-key": "changed"}})

    await reseal(Watched(store, change_all), NEW, OLD)
    after = await read_with(store, NEW, made)
    assert {endpoint.headers["x-key"] for endpoint in after if endpoint.headers} == {"changed"}
    assert [endpoint.secrets for endpoint in after] == [endpoint.secrets for endpoint in made]


async def test_what_is_deleted_meanwhile_stays_deleted(store: Store) -> None:
    made = await make_all(store)

    async def delete_all() -> None:
        for endpoint in made:
            await with_keys(store, NEW, OLD).endpoints.delete(endpoint.id)

    await reseal(Watched(store, delete_all), NEW, OLD)
    for endpoint in made:
        assert await store.execute("EXISTS", keys.endpoint(endpoint.shard, endpoint.id)) == 0


async def test_it_takes_a_bounded_number_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "BATCH", 2)
    made = await make_all(store)
    watched = Watched(store)
    assert (await reseal(watched, NEW, OLD)).resealed == len(made)
    assert watched.most == 2


async def test_headers_of_an_earlier_release_are_sealed(store: Store) -> None:
    made = (await make_all(store))[1]
    key = keys.endpoint(made.shard, made.id)
    await store.execute("HSET", key, "headers", b'{"authorization": "Bearer planted"}')
    assert (await reseal(store, OLD)).resealed == 1
    assert b"planted" not in await store.execute("HGET", key, "headers")
    assert await read_with(store, OLD, [made]) == [made]


async def test_what_no_key_opens_is_counted_and_left_as_it_is(store: Store) -> None:
    made = await make_all(store)
    foreign = await with_keys(store, b"f" * 32).endpoint(USERS[0])
    progress = await reseal(store, NEW, OLD)
    assert (progress.resealed, progress.lost) == (len(made), 1)
    assert await read_with(store, b"f" * 32, [foreign]) == [foreign]

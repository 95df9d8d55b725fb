"""API keys: only a digest is kept, revocation is noticed, their number is bounded."""

import asyncio

import pytest

from app.domain.credential import API_KEY_PREFIX
from app.errors import TooManyApiKeys
from app.store import keys
from app.store.apikeys import ApiKeys, Scope
from app.store.client import Store

READ = frozenset({Scope.READ})
SECRET = "mk_" + "s" * 30
OTHER_SECRET = "mk_" + "o" * 30
ADMIN = ("admin", frozenset({Scope.ADMIN}))


async def test_a_key_is_found_by_its_secret_and_the_store_does_not_hold_it(store: Store) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    key, secret = await api_keys.create("ci", READ, 1234)
    assert secret.startswith(API_KEY_PREFIX)
    assert await api_keys.find(secret) == key
    assert (key.name, key.scopes, key.created_at_ms) == ("ci", READ, 1234)
    assert secret.startswith(key.hint)
    assert len(key.hint) < 10
    raw = await store.execute("HGETALL", keys.API_KEYS)
    assert secret.encode() not in b"".join(raw)
    assert key.id.encode() == raw[0][: len(key.id)]


async def test_a_wrong_secret_finds_nothing(store: Store) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    _, secret = await api_keys.create("ci", READ, 1)
    for wrong in ("", secret[:-1], secret + "x", "mk_\ud800"):
        assert await api_keys.find(wrong) is None


async def test_the_key_of_the_settings_is_an_admin_key_even_beyond_the_bound(store: Store) -> None:
    api_keys = ApiKeys(store, api_keys_max=1)
    await api_keys.create("ci", READ, 1)
    first = await api_keys.set_bootstrap(SECRET, 2)
    assert await ApiKeys(store, api_keys_max=1).set_bootstrap(SECRET, 3) == first
    assert await api_keys.find(SECRET) == first
    assert [(key.name, key.scopes) for key in await api_keys.all()] == [("ci", READ), ADMIN]


async def test_apis_that_start_at_once_with_one_key_make_one_key(store: Store) -> None:
    apis = [ApiKeys(store, api_keys_max=3) for _ in range(8)]
    made = await asyncio.gather(*(api.set_bootstrap(SECRET, at) for at, api in enumerate(apis)))
    assert len(set(made)) == 1
    assert await apis[0].all() == [made[0]]


async def test_another_key_in_the_settings_revokes_the_one_before_and_no_other(
    store: Store,
) -> None:
    time = [0.0]
    old = ApiKeys(store, api_keys_max=3, cache_s=2.0, clock=lambda: time[0])
    new = ApiKeys(store, api_keys_max=3)
    made, by_call = await old.create("ops", ADMIN[1], 1)
    await old.set_bootstrap(SECRET, 1)
    assert await old.find(SECRET) is not None
    key = await new.set_bootstrap(OTHER_SECRET, 2)
    assert await new.find(SECRET) is None
    assert await new.all() == [made, key]
    time[0] = 2.01
    assert await old.find(SECRET) is None
    assert await old.find(OTHER_SECRET) == key
    assert await old.find(by_call) == made


async def test_in_a_rolling_change_the_last_start_decides(store: Store) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    for secret in (SECRET, OTHER_SECRET, SECRET, OTHER_SECRET, OTHER_SECRET):
        key = await api_keys.set_bootstrap(secret, 1)
        assert await api_keys.all() == [key]
    assert await api_keys.find(SECRET) is None
    assert await api_keys.find(OTHER_SECRET) == key


async def test_without_a_key_in_the_settings_the_one_before_is_revoked(store: Store) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    made, _ = await api_keys.create("ops", ADMIN[1], 1)
    await api_keys.set_bootstrap(SECRET, 1)
    assert await api_keys.set_bootstrap(None, 2) is None
    assert await api_keys.find(SECRET) is None
    assert await api_keys.all() == [made]


async def test_the_key_of_the_settings_that_was_revoked_by_call_stays_so_at_every_start(
    store: Store,
) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    key = await api_keys.set_bootstrap(SECRET, 1)
    assert key is not None
    assert not await api_keys.is_revoked(SECRET)
    assert await api_keys.revoke(key.id)
    assert not await api_keys.revoke(key.id)
    for at in (2, 3):
        assert await ApiKeys(store, api_keys_max=3).set_bootstrap(SECRET, at) is None
        assert await api_keys.is_revoked(SECRET)
        assert await api_keys.find(SECRET) is None
        assert await api_keys.all() == []
    other = await api_keys.set_bootstrap(OTHER_SECRET, 4)
    assert await api_keys.all() == [other]
    assert not await api_keys.is_revoked(OTHER_SECRET)


async def test_a_key_made_by_call_that_is_then_set_is_the_key_of_the_settings(
    store: Store,
) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    _, secret = await api_keys.create("ci", READ, 1)
    key = await api_keys.set_bootstrap(secret, 2)
    assert key is not None
    assert (key.name, key.scopes) == ADMIN
    await api_keys.set_bootstrap(SECRET, 3)
    assert await api_keys.find(secret) is None


async def test_a_revoked_key_is_gone_here_at_once_and_elsewhere_soon(store: Store) -> None:
    time = [0.0]
    here = ApiKeys(store, api_keys_max=3)
    there = ApiKeys(store, api_keys_max=3, cache_s=2.0, clock=lambda: time[0])
    key, secret = await here.create("ci", READ, 1)
    assert await here.find(secret) == await there.find(secret) == key
    assert await here.revoke(key.id)
    assert not await here.revoke(key.id)
    assert await here.find(secret) is None
    time[0] = 2.0
    assert await there.find(secret) == key
    time[0] = 2.01
    assert await there.find(secret) is None


async def test_an_id_that_is_none_revokes_nothing(store: Store) -> None:
    api_keys = ApiKeys(store, api_keys_max=3)
    await api_keys.create("ci", READ, 1)
    for id_ in ("", "é", "0" * 12, "0" * 64):
        assert not await api_keys.revoke(id_)
    assert len(await api_keys.all()) == 1


async def test_there_are_never_more_than_the_bound_however_many_ask_at_once(
    store: Store,
) -> None:
    api_keys = ApiKeys(store, api_keys_max=5)
    made = await asyncio.gather(
        *(api_keys.create(f"k{n}", READ, n) for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, TooManyApiKeys) for result in made) == 15
    assert len(await api_keys.all()) == 5
    with pytest.raises(TooManyApiKeys, match="5 API keys"):
        await api_keys.create("one more", READ, 1)


async def test_what_is_remembered_is_bounded(single_store: Store) -> None:
    api_keys = ApiKeys(single_store, api_keys_max=0)
    for number in range(1_030):
        api_keys._found[b"%d" % number] = (0.0, None)  # type: ignore[assignment]
    await api_keys.set_bootstrap(SECRET, 1)
    assert await api_keys.find(SECRET) is not None
    assert len(api_keys._found) == 1

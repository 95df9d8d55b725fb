from dataclasses import fields
from ipaddress import ip_network

from app.api.http import HttpLimits
from app.api.services import Limits
from app.domain.shard import shard_of
from app.settings import Settings
from app.store import keys
from tests.api.conftest import SHARDS, Api, make_services, serve

KEY = "mk_the-first-key-of-all"
# Of settings that are no numbers.
VALUES = {"allow_ports": (8080,), "trusted_proxies": (ip_network("10.0.0.0/8"),)}


def test_every_limit_follows_its_setting():
    settings = Settings()
    for limits in (Limits, HttpLimits):
        assert limits.of(settings) == limits()
        named = {field.name for field in fields(limits)} & set(Settings.model_fields)
        assert len(named) >= 2
        for name in named:
            value = VALUES.get(name) or getattr(settings, name) + 1
            changed = settings.model_copy(update={name: value})
            assert getattr(limits.of(changed), name) == value


def test_a_ping_may_take_as_long_as_an_attempt_and_the_way_there():
    settings = Settings(request_deadline_s=7.0)
    assert Limits.of(settings).ping_timeout_s > 7.0


async def test_the_first_key_is_there_again_when_the_store_has_begun_anew(single_store):
    async with serve(make_services(single_store, admin_key=KEY)) as api:
        await api.services.prepare()
        async with api.client(KEY) as client:
            assert (await client.get("/v1/keys")).status_code == 200
            await single_store.broadcast("FLUSHALL")
            await api.services.begin_anew("cafe")
            assert (await client.get("/v1/users/bob/feed")).json()["epoch"] == "cafe"
        # The others went with the store, although this process had seen them a moment ago.
        assert (await api.admin.get("/v1/keys")).status_code == 401


async def test_an_admin_key_revoked_by_call_stays_so_at_the_next_start_which_warns(
    single_store, caplog
):
    async with serve(make_services(single_store, admin_key=KEY)) as api:
        await api.services.prepare()
        assert caplog.records == []
        async with api.client(KEY) as client:
            [key] = [
                one
                for one in (await client.get("/v1/keys")).json()["items"]
                if one["hint"] == KEY[:8]
            ]
            assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
        await make_services(single_store, admin_key=KEY).prepare()
        assert [line.message for line in caplog.records] == [
            "the admin key of the settings was revoked by call: set another"
        ]
        async with api.client(KEY) as client:
            assert (await client.get("/v1/keys")).status_code == 401


async def test_a_start_without_an_admin_key_ends_the_one_there_was(single_store):
    async with serve(make_services(single_store, admin_key=KEY)) as api:
        await api.services.prepare()
        await make_services(single_store).prepare()
        assert len((await api.admin.get("/v1/keys")).json()["items"]) == 3


async def test_a_long_poll_goes_on_when_the_store_has_begun_anew(running_api: Api):
    services = running_api.services
    async with services.waiters.wait("bob") as wait:
        await wait.ready()
        await services.store.broadcast("FLUSHALL")
        await services.begin_anew("cafe")
        assert await wait.woken(30)
        await wait.ready()
        routes = keys.routes(shard_of("bob", SHARDS))
        assert b"@testnode" in await services.store.execute("HGET", routes, "bob")

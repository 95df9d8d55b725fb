"""Endpoints: sealed, bounded, in their user's route by what they want, told of when they change."""

import asyncio
import os

import pytest

from app.domain.attempt import Outcome
from app.domain.signature import new_signing_key
from app.errors import NoSender, TooManyEndpoints
from app.sealing import Sealer
from app.store import endpoints as endpoints_module
from app.store import keys
from app.store.client import Store
from app.store.endpoints import SECRETS_MAX, Endpoint
from app.store.vault import Secret
from app.wire import encode_attempt, stream_fields
from tests.store.places import check_keys
from tests.store.service import NOW_MS, Result, Sender, Service, State, fan_out, users_of
from tests.wait import wait_until

((BOB, EVE),) = (users_of(1, 2),)
OLD, NEW = "whsec_" + "a" * 32, "whsec_" + "b" * 32


async def route(store: Store, user: str = BOB) -> list[str]:
    raw = await store.execute("HGET", keys.routes(1), user)
    return (raw or b"").decode().split()


async def changes(store: Store) -> list[dict[bytes, bytes]]:
    found = await store.execute("XRANGE", keys.changes(1), "-", "+")
    return [stream_fields(raw) for _, raw in found]


async def test_a_new_endpoint_is_active_and_reads_as_it_was_made(store: Store) -> None:
    endpoints = Service.on(store).endpoints
    made = await endpoints.create(
        user=BOB,
        url="https://example.com/ä?x=1",
        types=("post.*", "task.created"),
        method="rest",
        headers={"x-key": "1"},
        rate_per_s=2.5,
        retry_schedule_s=(1.0, 2.0),
        description="mine",
        secret=OLD,
        now_ms=NOW_MS,
    )
    assert made == Endpoint(
        id=made.id,
        user=BOB,
        url="https://example.com/ä?x=1",
        types=("post.*", "task.created"),
        method="rest",
        headers={"x-key": "1"},
        rate_per_s=2.5,
        retry_schedule_s=(1.0, 2.0),
        description="mine",
        secrets=(Secret(OLD),),
        state="active",
        disabled_reason=None,
        created_at_ms=NOW_MS,
        last_success_at_ms=None,
        consecutive_failures=0,
        first_failure_at_ms=None,
        failure_days=(),
        open_until_ms=None,
    )
    assert made.shard == 1
    assert await endpoints.get_many([made.id, "none", "0" * 10]) == {made.id: made}


async def test_the_store_holds_no_secret_in_the_clear(store: Store) -> None:
    made = await Service.on(store).endpoint(BOB)
    raw = await store.execute("HGETALL", keys.endpoint(1, made.id))
    assert made.secrets[0].value.removeprefix("whsec_").encode() not in b"".join(raw)


async def test_a_user_has_so_many_endpoints_and_no_more(store: Store) -> None:
    service = Service.on(store, endpoints_max=2)
    await store.call("join_node", [keys.routes(1)], ["gateway", BOB])
    made = [await service.endpoint(BOB) for _ in range(2)]
    with pytest.raises(TooManyEndpoints, match="2 endpoints"):
        await service.endpoint(BOB)
    assert await service.endpoints.of_user(BOB) == made
    assert await service.endpoints.of_user(EVE) == []
    await service.endpoint(EVE)
    await service.endpoints.delete(made[0].id)
    await service.endpoint(BOB)


async def test_making_one_again_because_the_answer_was_lost_makes_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints_module.randomness, "randbits", lambda bits: 7)
    service = Service.on(store)
    first, again = await service.endpoint(BOB), await service.endpoint(BOB)
    assert first == again
    assert await route(store) == [first.id]


async def test_an_id_that_is_taken_is_not_given_out_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([7, 7, 8])
    monkeypatch.setattr(endpoints_module.randomness, "randbits", lambda bits: next(draws))
    service = Service.on(store)
    first, second = await service.endpoint(BOB), await service.endpoint(EVE)
    assert first.id != second.id
    assert (first.user, second.user) == (BOB, EVE)


async def test_the_route_tells_which_types_an_endpoint_wants(store: Store) -> None:
    service = Service.on(store)
    every = await service.endpoint(BOB)
    some = await service.endpoint(BOB, ("post.*", "task.created"))
    assert await route(store) == [every.id, f"{some.id}=post.*,task.created"]
    await service.endpoints.change(some.id, {"types": ("task.*",)})
    await service.endpoints.change(every.id, {"url": "https://example.com/2"})
    assert await route(store) == [every.id, f"{some.id}=task.*"]
    changed = await service.endpoints.change(some.id, {"types": None})
    assert changed is not None
    assert changed.types == ("*",)
    assert await route(store) == [every.id, some.id]


async def test_a_change_of_something_else_does_not_put_back_old_types(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    endpoints = service.endpoints

    class Slow:
        """Reads the endpoint, and lets another change come before its own is written."""

        async def get(self, id_: str) -> Endpoint | None:
            found = await endpoints.get(id_)
            await endpoints.change(id_, {"types": ("task.*",)})
            return found

    slow = Service.on(store).endpoints
    slow.get = Slow().get  # type: ignore[method-assign]
    await slow.change(made.id, {"url": "https://example.com/2"})
    found = await endpoints.get(made.id)
    assert found is not None
    assert (found.url, found.types) == ("https://example.com/2", ("task.*",))
    assert await route(store) == [f"{made.id}=task.*"]


async def test_options_are_set_and_taken_away(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    options = {"rate_per_s": 3.0, "description": "x", "headers": {"a": "b"}}
    changed = await service.endpoints.change(made.id, options)
    assert changed is not None
    assert (changed.rate_per_s, changed.description, changed.headers) == (3.0, "x", {"a": "b"})
    changed = await service.endpoints.change(made.id, dict.fromkeys(options))
    assert changed == made


async def test_only_options_can_be_changed(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    with pytest.raises(ValueError, match="secrets, state"):
        await service.endpoints.change(made.id, {"state": "open", "secrets": "x"})
    assert await service.endpoints.get(made.id) == made


@pytest.mark.parametrize("id_", ["0000000001", "00000000zz", "none", ""])
async def test_what_is_not_there_cannot_be_changed(store: Store, id_: str) -> None:
    endpoints = Service.on(store).endpoints
    assert await endpoints.get(id_) is None
    assert await endpoints.change(id_, {"url": "https://example.com"}) is None
    assert await endpoints.rotate(id_, NEW, 60, NOW_MS) is None
    assert await endpoints.enable(id_) is None
    assert await endpoints.delete(id_) is False
    assert await changes(store) == []


async def test_every_change_is_told_of_and_what_is_told_is_bounded(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    await service.endpoints.change(made.id, {"description": "x"})
    await service.endpoints.enable(made.id)
    await service.endpoints.rotate(made.id, NEW, 60, NOW_MS)
    await service.endpoints.delete(made.id)
    assert await changes(store) == [{b"e": made.id.encode()}] * 5
    other = await service.endpoint(BOB)
    for number in range(300):
        await service.endpoints.change(other.id, {"description": str(number)})
    assert 100 <= await store.execute("XLEN", keys.changes(1)) <= 200  # cut a node at a time


async def test_both_secrets_live_until_the_overlap_ends(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    rotated = await service.endpoints.rotate(made.id, NEW, 60, NOW_MS)
    assert rotated is not None
    assert rotated.secrets == (Secret(NEW), Secret(OLD, NOW_MS + 60_000))
    assert rotated.live_secrets(NOW_MS + 59_999) == (NEW, OLD)
    assert rotated.live_secrets(NOW_MS + 60_000) == (NEW,)
    assert await service.endpoints.get(made.id) == rotated


async def test_an_overlap_is_never_prolonged_by_the_next_rotation(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    await service.endpoints.rotate(made.id, NEW, 60, NOW_MS)
    rotated = await service.endpoints.rotate(made.id, NEW + "c", 600, NOW_MS + 1_000)
    assert rotated is not None
    assert [secret.expires_at_ms for secret in rotated.secrets] == [
        *(None, NOW_MS + 601_000, NOW_MS + 60_000)
    ]
    rotated = await service.endpoints.rotate(made.id, NEW + "d", 0, NOW_MS + 60_000)
    assert rotated is not None
    assert rotated.live_secrets(NOW_MS + 60_000) == (NEW + "d",)


async def test_secrets_that_sign_are_bounded(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    for number in range(SECRETS_MAX + 3):
        rotated = await service.endpoints.rotate(made.id, f"{NEW}{number:04}", 600, NOW_MS)
    assert rotated is not None
    assert len(rotated.secrets) == SECRETS_MAX
    assert rotated.secrets[0].value == f"{NEW}{SECRETS_MAX + 2:04}"


async def test_of_rotations_at_once_none_loses_anothers_secret(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    secrets = [f"{NEW}{number:04}" for number in range(5)]
    await asyncio.gather(
        *(service.endpoints.rotate(made.id, secret, 600, NOW_MS) for secret in secrets)
    )
    found = await service.endpoints.get(made.id)
    assert found is not None
    assert set(found.live_secrets(NOW_MS)) == {OLD, *secrets}


async def test_a_secret_that_does_not_open_stops_neither_other_endpoints_nor_a_rotation(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    lost = await Service.on(store, sealer=Sealer(os.urandom(32))).endpoint(BOB)
    service = Service.on(store)
    made = await service.endpoint(BOB)
    found = await service.endpoints.get_many([lost.id, made.id])
    assert found[made.id] == made
    assert found[lost.id].secrets == ()
    assert [record.message for record in caplog.records] == ["a sealed field does not open"]
    rotated = await service.endpoints.rotate(lost.id, NEW, 60, NOW_MS)
    assert rotated is not None
    assert rotated.secrets == (Secret(NEW),)


async def test_how_an_endpoint_signs_is_known_even_if_its_secrets_do_not_open(store: Store) -> None:
    endpoints = Service.on(store, sealer=Sealer(os.urandom(32))).endpoints
    made = await endpoints.create(
        user=BOB,
        url="https://example.com",
        types=("*",),
        method="POST",
        headers={},
        rate_per_s=None,
        retry_schedule_s=None,
        description=None,
        secret=new_signing_key(os.urandom),
        now_ms=NOW_MS,
    )
    assert made.signing == "ed25519"
    found = await Service.on(store).endpoints.get(made.id)
    assert found is not None
    assert (found.signing, found.secrets) == ("ed25519", ())


async def test_an_endpoint_of_an_earlier_release_signs_as_it_did(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    await store.execute("HDEL", keys.endpoint(1, made.id), "signing")
    assert await service.endpoints.get(made.id) == made
    assert made.signing == "hmac"


async def test_neither_secrets_nor_headers_can_be_read_in_the_store(store: Store) -> None:
    service = Service.on(store)
    headers = {"authorization": "Bearer planted-token", "x-planted-name": "planted-value"}
    made = await service.endpoint(BOB, headers=headers)
    changed = await service.endpoint(BOB)
    await service.endpoints.change(changed.id, {"headers": headers})
    await service.endpoints.rotate(changed.id, NEW, 60, NOW_MS)
    for id_ in (made.id, changed.id):
        found = await service.endpoints.get(id_)
        assert found is not None
        assert found.headers == headers
        raw = b" ".join(await store.execute("HVALS", keys.endpoint(1, id_)))
        for planted in (b"planted", b"authorization", b"Bearer", b"whsec", b"aaaa", b"bbbb"):
            assert planted not in raw


async def test_headers_that_an_earlier_release_kept_plain_are_read(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    plain = b'{"authorization": "Bearer old", "x-key": "1"}'
    await store.execute("HSET", keys.endpoint(1, made.id), "headers", plain)
    found = await service.endpoints.get(made.id)
    assert found is not None
    assert found.headers == {"authorization": "Bearer old", "x-key": "1"}


async def test_secrets_of_another_endpoint_do_not_open(store: Store) -> None:
    service = Service.on(store)
    made, other = await service.endpoint(BOB), await service.endpoint(BOB)
    sealed = await store.execute("HGET", keys.endpoint(1, other.id), "secrets")
    await store.execute("HSET", keys.endpoint(1, made.id), "secrets", sealed)
    found = await service.endpoints.get_many([made.id, other.id])
    assert found[made.id].secrets == ()
    assert found[other.id].secrets == other.secrets != ()


async def test_headers_of_another_endpoint_do_not_open(store: Store) -> None:
    service = Service.on(store)
    made, other = await service.endpoint(BOB), await service.endpoint(BOB)
    await service.endpoints.change(other.id, {"headers": {"x-key": "1"}})
    for field in ("headers", "secrets"):
        sealed = await store.execute("HGET", keys.endpoint(1, other.id), field)
        await store.execute("HSET", keys.endpoint(1, made.id), "headers", sealed)
        found = await service.endpoints.get(made.id)
        assert found is not None
        assert found.headers is None
    changed = await service.endpoints.change(made.id, {"headers": {"x-key": "2"}})
    assert changed is not None
    assert changed.headers == {"x-key": "2"}


async def test_enabling_gives_a_clean_record_and_has_parked_work_looked_after(
    store: Store,
) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    sender = await Sender(store, 1).take()
    ailing = {
        **{"state": "disabled", "disabled_reason": "gone", "consecutive_failures": 12},
        **{"first_failure_at": 5, "failure_days": "2026-01-01 2026-01-02", "open_until": ""},
        **{"last_success_at": 4},
    }
    flat = [part for pair in ailing.items() for part in pair]
    await sender.record(health=[(made.id, flat, 0)])
    found = await service.endpoints.get(made.id)
    assert found is not None
    assert (found.state, found.disabled_reason, found.open_until_ms) == ("disabled", "gone", None)
    assert found.failure_days == ("2026-01-01", "2026-01-02")
    assert await store.execute("ZCARD", keys.probes(1)) == 0
    enabled = await service.endpoints.enable(made.id)
    assert enabled is not None
    assert (enabled.state, enabled.disabled_reason, enabled.consecutive_failures) == (
        *("active", None, 0),
    )
    assert (enabled.first_failure_at_ms, enabled.failure_days) == (None, ())
    assert enabled.last_success_at_ms == 4
    assert await store.execute("ZRANGE", keys.probes(1), 0, -1) == [made.id.encode()]


async def test_a_deleted_endpoint_leaves_route_log_and_only_its_own(store: Store) -> None:
    service = Service.on(store)
    gone, stays = await service.endpoint(BOB, ("post.*",)), await service.endpoint(BOB)
    await store.call("join_node", [keys.routes(1)], ["gateway", BOB])
    event = await service.post()
    await fan_out(store, event, [BOB])
    sender = await Sender(store, 1).take()
    await sender.record(
        [
            Result(f"{event.post}-1-0-{endpoint.id}", State.DELIVERED, log=b"x")
            for endpoint in (gone, stays)
        ]
    )
    assert await service.endpoints.delete(gone.id)
    assert await service.endpoints.get(gone.id) is None
    assert await service.endpoints.of_user(BOB) == [stays]
    assert await route(store) == [stays.id, "@gateway"]
    assert not await store.execute("EXISTS", keys.attempts(1, gone.id))
    assert await store.execute("LLEN", keys.attempts(1, stays.id)) == 1
    await service.endpoints.delete(stays.id)
    await store.call("leave_node", [keys.routes(1)], ["gateway", BOB])
    assert not await store.execute("EXISTS", keys.routes(1))


async def test_what_is_parked_for_a_deleted_endpoint_is_due_to_be_looked_after(
    store: Store,
) -> None:
    service = Service.on(store)
    made, other = await service.endpoint(BOB), await service.endpoint(BOB)
    event = await service.post()
    await fan_out(store, event, [BOB])
    sender = await Sender(store, 1).take()
    await sender.record(
        [Result(f"{event.post}-1-0-{made.id}", State.PARKED_PENDING, 0)],
        health=[(made.id, ["state", "open"], 0)],
    )
    await service.endpoints.delete(other.id)
    assert await store.execute("ZCARD", keys.probes(1)) == 0
    await service.endpoints.delete(made.id)
    assert await store.execute("ZRANGE", keys.probes(1), 0, -1, "WITHSCORES") == [
        *(made.id.encode(), b"0")
    ]


async def test_deleting_again_because_the_answer_was_lost_was_a_deletion(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)

    async def twice(script: str, *args: object) -> object:
        await Store.call(store, script, *args)
        return await Store.call(store, script, *args)

    monkeypatch.setattr(service.endpoints._store, "call", twice)
    assert await service.endpoints.delete(made.id)


async def test_the_attempt_log_has_the_newest_first(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    event = await service.post()
    await fan_out(store, event, [BOB])
    sender = await Sender(store, 1, log_max=100).take()
    id_ = f"{event.post}-1-0-{made.id}"
    for attempt in range(1, 6):
        entry = encode_attempt(id_, attempt, NOW_MS, Outcome(503, None, 12.5, excerpt=b"\xff"))
        await sender.record([Result(id_, State.RETRYING, attempt, due_ms=5, log=entry)])
    entries = await service.endpoints.attempts(made.id)
    assert [entry.attempt for entry in entries] == [5, 4, 3, 2, 1]
    assert (entries[0].error, entries[0].duration_ms) == ("http_5xx", 12.5)


async def test_a_ping_is_asked_of_the_sender_and_its_answer_waited_for(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    asking = asyncio.create_task(service.endpoints.ping(made.id, 5))
    asked = await wait_until(lambda: _pings(store))
    assert asked[b"e"] == made.id.encode()
    entry = encode_attempt("ping", 1, NOW_MS, Outcome(200, None, 3.0))
    await store.execute("RPUSH", keys.reply(1, asked[b"p"].decode()), entry)
    assert (await asking).status == 200


async def test_an_answer_nobody_waits_for_has_an_end_and_the_log_keeps_its_bound(
    store: Store,
) -> None:
    named = [keys.reply(1, "request"), keys.attempts(1, "0000000001")]
    for number in range(5):
        await store.call("answer_ping", named, [b"%d" % number, 60, 3, 3_600])
    assert await store.execute("LRANGE", named[1], 0, -1) == [b"4", b"3", b"2"]
    assert 50 < await store.execute("TTL", named[0]) <= 60
    await check_keys(store)


async def _pings(store: Store) -> dict[bytes, bytes] | None:
    return next((fields for fields in await changes(store) if b"p" in fields), None)


async def test_a_ping_that_nobody_answers_says_so(store: Store) -> None:
    service = Service.on(store)
    made = await service.endpoint(BOB)
    with pytest.raises(NoSender):
        await service.endpoints.ping(made.id, 0.02)

"""Endpoints that have to be verified, in the store: every step that changes state or address."""

import json
from typing import Any

import pytest

from app.errors import EndpointUnverified
from app.store import keys
from app.store.challenges import Result, Settled, settle
from app.store.client import Store
from app.store.endpoints import Endpoint, Verification
from tests.store.service import Sender, Service, users_of

(BOB,) = users_of(1, 1)
URL, OTHER = "https://hooks.example.com/bob", "https://other.example.com/bob"
KEPT = (5, 60, 1_000)


async def made(store: Store, verify: bool = True) -> tuple[Service, Endpoint]:
    service = Service.on(store)
    endpoint = await service.endpoint(BOB, url=URL, verify=verify)
    return service, endpoint


async def probe(store: Store, endpoint: Endpoint) -> float | None:
    score = await store.execute("ZSCORE", keys.probes(1), endpoint.id)
    return None if score is None else float(score)


async def changes(store: Store) -> int:
    return await store.execute("XLEN", keys.changes(1))


async def noted(store: Store, endpoint: Endpoint, result: Result, **more: Any) -> bool:
    settled = Settled(endpoint.id, endpoint.url, result, **more)
    return await settle(store, settled, "request", b"", KEPT)


async def test_it_is_unverified_from_the_start_and_due_at_once(store: Store):
    service, endpoint = await made(store)
    assert (endpoint.state, endpoint.verification) == ("unverified", Verification())
    assert await probe(store, endpoint) == 0
    _, plain = await made(store, verify=False)
    assert (plain.state, plain.verification) == ("active", None)
    assert await probe(store, plain) is None
    assert [one.state for one in await service.endpoints.of_user(BOB)] == ["unverified", "active"]


async def test_an_echo_makes_it_active_and_sets_free_what_waits(store: Store):
    service, endpoint = await made(store)
    told = await changes(store)
    assert not await noted(store, endpoint, "failed", error="challenge", challenges=1, due_ms=77)
    read = await service.endpoints.get(endpoint.id)
    assert read is not None
    assert read.verification == Verification(1, "challenge", 0)
    assert await probe(store, endpoint) == 77
    assert await noted(store, endpoint, "echoed", challenges=2)
    read = await service.endpoints.get(endpoint.id)
    assert read is not None
    assert (read.state, read.verification) == ("active", None)
    assert await probe(store, endpoint) == 1
    assert await changes(store) == told + 2
    assert not await noted(store, endpoint, "echoed", challenges=3)


async def test_after_the_last_it_is_looked_after_no_more(store: Store):
    service, endpoint = await made(store)
    await noted(store, endpoint, "failed", error="timeout", challenges=5)
    assert await probe(store, endpoint) is None
    read = await service.endpoints.get(endpoint.id)
    assert read is not None
    assert read.verification == Verification(5, "timeout", None)


async def test_what_was_put_off_counts_for_nothing(store: Store):
    service, endpoint = await made(store)
    await noted(store, endpoint, "later", due_ms=99, shown_due_ms=1_099)
    read = await service.endpoints.get(endpoint.id)
    assert read is not None
    assert read.verification == Verification(0, None, 1_099)
    assert await probe(store, endpoint) == 99


async def test_no_call_and_no_sender_makes_it_active(store: Store):
    service, endpoint = await made(store)
    sender = await Sender(store, 1).take()
    with pytest.raises(EndpointUnverified):
        await service.endpoints.enable(endpoint.id)
    for probe_ms in (-1, 0, 5):
        fields = ["state", "active", "consecutive_failures", 3]
        await sender.record(health=[(endpoint.id, fields, probe_ms)])
    assert await service.endpoints.get(endpoint.id) == endpoint
    assert await probe(store, endpoint) == 0


@pytest.mark.parametrize("state", ["active", "open", "disabled"])
async def test_another_url_has_to_be_verified_whatever_it_was(store: Store, state: str):
    service, endpoint = await made(store, verify=False)
    sender = await Sender(store, 1).take()
    fields = ["state", state, "disabled_reason", "failing", "consecutive_failures", 30]
    fields += ["first_failure_at", 5, "failure_days", "2026-01-31", "open_until", 9]
    await sender.record(health=[(endpoint.id, fields, 9)])
    same = await service.endpoints.change(endpoint.id, {"url": URL, "method": "GET"}, verify=True)
    assert same is not None
    assert (same.state, same.consecutive_failures) == (state, 30)

    aimed = await service.endpoints.change(endpoint.id, {"url": OTHER}, verify=True)
    assert aimed is not None
    assert (aimed.state, aimed.url) == ("unverified", OTHER)
    assert (aimed.disabled_reason, aimed.consecutive_failures) == (None, 0)
    assert (aimed.first_failure_at_ms, aimed.failure_days, aimed.open_until_ms) == (None, (), None)
    assert await probe(store, endpoint) == 0

    # From now on, whoever changes it; and an echo of the address before is none of this one.
    assert not await noted(store, endpoint, "echoed")
    assert await noted(store, aimed, "echoed")
    again = await service.endpoints.change(endpoint.id, {"url": URL})
    assert again is not None
    assert again.state == "unverified"


async def test_a_change_that_read_the_address_before_another_change_is_verified(store: Store):
    """Each is judged by the url that is there when it is made, not by what its maker has seen."""
    service, endpoint = await made(store)
    await noted(store, endpoint, "echoed")
    for url in (OTHER, URL, OTHER):
        aimed = await service.endpoints.change(endpoint.id, {"url": url}, verify=True)
        assert aimed is not None
        assert aimed.state == "unverified"


async def test_a_url_is_compared_as_it_is_kept(store: Store):
    url = 'https://hooks.example.com/ä?"quoted"=\u0041'
    service = Service.on(store)
    endpoint = await service.endpoint(BOB, url=url, verify=True)
    assert await noted(store, endpoint, "echoed")
    same = await service.endpoints.change(endpoint.id, {"url": url})
    assert same is not None
    assert same.state == "active"
    raw = await store.execute("HGET", keys.endpoint(1, endpoint.id), "url")
    assert json.loads(raw) == url

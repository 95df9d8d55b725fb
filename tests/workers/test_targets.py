"""Endpoints as a sender knows them: read once, kept, told apart from what cannot be used."""

import pytest

from app.domain.breaker import EndpointState, Health
from app.sealing import Sealer
from app.store.client import Store
from tests.store.service import Service, users_of
from workers.targets import AGE_MAX_MS, Targets

BOB, EVE = users_of(1, 1) + users_of(2, 1)


@pytest.fixture
def service(single_store: Store) -> Service:
    return Service.on(single_store)


def targets_of(service: Service, **options: int) -> Targets:
    return Targets(service.endpoints, allow_ports=(), **options)


async def test_a_target_is_read_once_and_stays_the_same_object(service: Service):
    endpoint = await service.endpoint(BOB)
    targets = targets_of(service)
    first = (await targets.load([endpoint.id])).targets[endpoint.id]
    await service.endpoints.change(endpoint.id, {"rate_per_s": 5.0})
    assert (await targets.load([endpoint.id])).targets[endpoint.id] is first
    assert first.rate_per_s is None
    await targets.reload([endpoint.id])
    assert targets.get(endpoint.id) is first
    assert first.rate_per_s == 5.0


async def test_what_was_read_long_ago_is_read_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    endpoint = await service.endpoint(BOB)
    targets = targets_of(service)
    await targets.load([endpoint.id])
    await service.endpoints.change(endpoint.id, {"rate_per_s": 5.0})
    monkeypatch.setattr("workers.targets.AGE_MAX_MS", -AGE_MAX_MS)
    loaded = await targets.load([endpoint.id])
    assert loaded.targets[endpoint.id].rate_per_s == 5.0


async def test_an_endpoint_that_is_gone_is_neither_a_target_nor_unusable(service: Service):
    endpoint = await service.endpoint(BOB)
    targets = targets_of(service)
    target = (await targets.load([endpoint.id])).targets[endpoint.id]
    await service.endpoints.delete(endpoint.id)
    assert not target.is_gone
    loaded = await targets.reload([endpoint.id])
    assert (loaded.targets, loaded.unusable) == ({}, frozenset())
    assert targets.get(endpoint.id) is None
    assert target.is_gone  # for whoever still holds it


async def test_an_endpoint_sealed_by_another_key_is_unusable_and_stops_no_other(
    single_store: Store,
):
    foreign = await Service.on(single_store, sealer=Sealer(b"k" * 32)).endpoint(BOB)
    service = Service.on(single_store)
    ours = await service.endpoint(BOB)
    loaded = await targets_of(service).load([foreign.id, ours.id])
    assert loaded.unusable == {foreign.id}
    assert list(loaded.targets) == [ours.id]


async def test_an_endpoint_whose_headers_do_not_open_is_unusable_until_it_has_others(
    service: Service,
):
    made = await service.endpoint(BOB)
    foreign = Service.on(service.store, sealer=Sealer(b"k" * 32))
    await foreign.endpoints.change(made.id, {"headers": {"authorization": "Bearer lost"}})
    assert (await targets_of(service).load([made.id])).unusable == {made.id}
    await service.endpoints.change(made.id, {"headers": {}})
    assert list((await targets_of(service).load([made.id])).targets) == [made.id]


async def test_what_is_asked_for_together_is_there_together_however_few_are_kept(
    service: Service,
):
    endpoints = [await service.endpoint(BOB) for _ in range(5)]
    targets = targets_of(service, kept_max=2)
    loaded = await targets.load([endpoint.id for endpoint in endpoints])
    assert len(loaded.targets) == 5
    assert sum(targets.get(endpoint.id) is not None for endpoint in endpoints) == 2


async def test_the_one_used_longest_ago_goes_first(service: Service):
    first, second, third = [await service.endpoint(BOB) for _ in range(3)]
    targets = targets_of(service, kept_max=2)
    await targets.load([first.id])
    await targets.load([second.id])
    await targets.load([first.id])
    await targets.load([third.id])
    assert targets.get(second.id) is None
    assert targets.get(first.id) is not None


async def test_a_shard_that_comes_back_is_read_anew(service: Service):
    here, there = await service.endpoint(BOB), await service.endpoint(EVE)
    targets = targets_of(service)
    old = (await targets.load([here.id, there.id])).targets
    old[here.id].health = Health(state=EndpointState.OPEN, open_until_ms=1)
    old[here.id].is_unwritten = True
    assert targets.open == 1
    targets.forget_shard(1)
    new = (await targets.load([here.id, there.id])).targets
    assert new[there.id] is old[there.id]
    assert new[here.id].health.state is EndpointState.ACTIVE
    assert targets.open == 0


async def test_a_shard_in_doubt_is_read_again_into_the_same_targets(service: Service):
    here, there = await service.endpoint(BOB), await service.endpoint(EVE)
    targets = targets_of(service)
    old = (await targets.load([here.id, there.id])).targets
    old[here.id].health = Health(state=EndpointState.OPEN, open_until_ms=1)
    old[here.id].is_unwritten = True
    for endpoint in (here, there):
        await service.endpoints.change(endpoint.id, {"rate_per_s": 5.0})
    targets.doubt_shard(1)
    new = (await targets.load([here.id, there.id])).targets
    assert new[here.id] is old[here.id]
    assert new[here.id].rate_per_s == 5.0
    assert new[here.id].health.state is EndpointState.OPEN
    assert new[there.id].rate_per_s is None  # of another shard

"""A worker as a whole: its roles, its start and end, and real processes that are stopped."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.metrics import Metrics
from app.store import keys
from tests.receivers import Receiver, gated
from tests.wait import wait_until
from tests.workers.rig import SHARDS, Rig, users_of
from workers.metrics import register

FRIENDS = [name for shard in range(SHARDS) for name in users_of(shard, 3)]
SECRET_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="  # the rig's


def ids(receiver: Receiver) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in receiver.requests)


@pytest.mark.parametrize("roles", [frozenset[str](), frozenset({"sender", "cook"})])
async def test_a_worker_without_a_role_or_with_an_unknown_one_is_a_mistake(
    single_rig: Rig, roles: frozenset[str]
):
    with pytest.raises(ValueError, match="roles are some of fanout, janitor, sender"):
        single_rig.worker(roles=roles)


async def test_roles_can_be_apart_and_work_together(single_rig: Rig, receiver: Receiver):
    rig = single_rig
    await rig.befriend("ann", *FRIENDS)
    for friend in FRIENDS:
        await rig.register(friend, receiver.url)
    async with (
        rig.working(roles=frozenset({keys.FANOUT})) as fanout,
        rig.working(roles=frozenset({keys.SENDER})) as sender,
    ):
        post = await rig.post("ann")
        await rig.settled(post, delivered=len(FRIENDS))
        assert fanout.stats.fanout.recipients == len(FRIENDS)
        assert sender.stats.dispatch.states["d"] == len(FRIENDS)
        assert fanout.stats.http is None


async def test_every_counter_of_a_worker_at_work_can_be_scraped(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    await rig.befriend("ann", "bob")
    await rig.register("bob", receiver.url)
    metrics = Metrics()
    async with rig.working() as worker:
        register(metrics, worker.stats)
        await rig.settled(await rig.post("ann"), delivered=1)
        page = metrics.render().decode()
    for line in (
        "moments_recipients_total 1.0",
        "moments_webhooks_total 1.0",
        'moments_attempts_total{result="ok"} 1.0',
        'moments_deliveries_settled_total{state="delivered"} 1.0',
        "moments_connections_made_total 1.0",
        f'moments_leases_held{{role="sender"}} {SHARDS}.0',
        "moments_deliveries_held 0.0",
        'moments_attempt_seconds_bucket{le="+Inf"} 1.0',
    ):
        assert line in page.splitlines()


async def test_a_worker_that_has_ended_leaves_no_lease_no_mark_and_no_task(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    await rig.befriend("ann", "bob")
    await rig.register("bob", receiver.url)
    before = asyncio.all_tasks()
    async with rig.working() as worker:
        assert worker.unready() is None
        await rig.settled(await rig.post("ann"), delivered=1)
    assert await rig.store.execute("KEYS", "lease:*") == []
    assert await rig.store.execute("EXISTS", keys.WORKERS) == 0
    assert asyncio.all_tasks() - before == set()


async def test_a_worker_is_not_ready_before_it_has_begun(single_rig: Rig):
    assert single_rig.worker().unready() == "starting"


# Real processes


@asynccontextmanager
async def process(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`moments worker` on the rig's store; killed at the end, if it has not ended."""
    environment = {
        **os.environ,
        "MOMENTS_REDIS_URL": url,
        "MOMENTS_SHARDS": str(SHARDS),
        "MOMENTS_SECRET_KEY": SECRET_KEY,
        "MOMENTS_ALLOW_CIDRS": "127.0.0.0/8",
        "MOMENTS_LEASE_S": "1",
        "MOMENTS_RETENTION_S": "3600",
        "MOMENTS_LOG_LEVEL": "error",
    }
    command = (sys.executable, "-m", "app.cli", "worker", "--role", "sender")
    child = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGCONT)
            child.kill()
        await child.wait()


async def has_all_leases(rig: Rig) -> bool:
    found = [
        await rig.store.execute("GET", keys.lease(shard, keys.SENDER)) for shard in range(SHARDS)
    ]
    return None not in found


async def test_a_process_stopped_for_longer_than_its_lease_does_no_harm_when_it_goes_on(
    single_rig: Rig, single_store_url: str, receiver: Receiver
):
    """What it had under way is sent again by the new owner, what it had read and not begun once."""
    rig, gate = single_rig, asyncio.Event()
    receiver.default = gated(gate)
    for friend in FRIENDS:
        await rig.register(friend, receiver.url)
    async with process(single_store_url) as stopped:
        await wait_until(lambda: has_all_leases(rig), timeout_s=20)
        posts = [await rig.fanned_out(FRIENDS) for _ in range(8)]  # four under way, four waiting
        await wait_until(lambda: len(receiver.requests) == 4 * len(FRIENDS))
        stopped.send_signal(signal.SIGSTOP)
        gate.set()
        async with rig.working(roles=frozenset({keys.SENDER}), lease_s=1):
            for post in posts:
                await rig.settled(post, delivered=len(FRIENDS), timeout_s=10)
            stopped.send_signal(signal.SIGCONT)
            later = await rig.fanned_out(FRIENDS)
            await rig.settled(later, delivered=len(FRIENDS))
            stopped.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(stopped.wait(), 10) == 0
    sent = ids(receiver)
    assert len(sent) == 9 * len(FRIENDS)
    assert Counter(sent.values()) == {2: 4 * len(FRIENDS), 1: 5 * len(FRIENDS)}
    assert {found.place for found in (await rig.places()).values()} == {"delivered"}


async def test_a_process_that_is_killed_is_followed_once_its_lease_is_over(
    single_rig: Rig, single_store_url: str, receiver: Receiver
):
    rig, gate = single_rig, asyncio.Event()
    receiver.default = gated(gate)
    for friend in FRIENDS:
        await rig.register(friend, receiver.url)
    async with process(single_store_url) as killed:
        await wait_until(lambda: has_all_leases(rig), timeout_s=20)
        async with rig.working(roles=frozenset({keys.SENDER}), lease_s=1) as second:
            await wait_until(lambda: second.stats.tenure.owned.get(keys.SENDER) == SHARDS // 2)
            post = await rig.fanned_out(FRIENDS)
            await wait_until(lambda: len(receiver.requests) == len(FRIENDS))
            killed.kill()
            # Its requests are cut: they need not wait for the deadline of a request, 15 s.
            await wait_until(lambda: len(receiver.requests) > len(FRIENDS), timeout_s=10)
            gate.set()
            await rig.settled(post, delivered=len(FRIENDS))
    assert set(ids(receiver).values()) <= {1, 2}
    assert len(ids(receiver)) == len(FRIENDS)
    assert {found.place for found in (await rig.places()).values()} == {"delivered"}

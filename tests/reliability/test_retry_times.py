"""Retries are made when they are due: all of them, none sooner.

How late they are on a machine with nothing else to do is measured by
`scripts/bench/retry_lateness.py`; here only gross misses count.
"""

import time

from app.receiver import Plan, Received, Receiver
from app.store.client import Store
from tests.flows.service import serve
from tests.wait import wait_until

FRIENDS = 40
DELAY_S = 0.8
LATE_MAX_S = 3.0


async def test_many_retries_due_at_the_same_time_are_all_made_then_and_none_before(
    single_store: Store,
):
    first_s: dict[str, float] = {}
    late_s: dict[str, float] = {}

    def take(received: Received) -> None:
        now_s = time.monotonic()
        if received.attempt == "1":
            first_s[received.id] = now_s
        else:
            late_s[received.id] = now_s - first_s[received.id] - DELAY_S

    plan = Plan(fail_first=1, status=500)
    async with (
        Receiver(plan=plan, on_request=take) as receiver,
        serve(single_store, retry_schedule_s=str(DELAY_S)) as service,
    ):
        for number in range(FRIENDS):
            await service.befriend(("alice", f"friend-{number}"))
            await service.register(f"friend-{number}", receiver.url)
        post = await service.post("alice")

        async def is_through() -> bool:
            counts = (await service.deliveries(post["id"], limit="1"))["counts"]
            return counts["delivered"] == FRIENDS

        await wait_until(is_through, DELAY_S + LATE_MAX_S + 5, poll_s=0.05)
    assert len(late_s) == FRIENDS
    # Loops count in whole milliseconds.
    assert min(late_s.values()) > -0.01
    assert max(late_s.values()) < LATE_MAX_S

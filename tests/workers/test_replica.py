"""A sender that waits for a replica: what could still be lost is not sent."""

from tests.opened_store import opened
from tests.receivers import Receiver
from tests.store_servers import Pair
from tests.wait import wait_until
from tests.workers.rig import Rig


async def test_nothing_is_sent_before_a_replica_has_it(pair: Pair, receiver: Receiver) -> None:
    async with opened(pair.url, ack_timeout_ms=50) as store:
        rig = Rig.on(store)
        await rig.register("bob", receiver.url)
        async with rig.working(roles=frozenset({"sender"}), ack="replica") as worker:
            await rig.fanned_out(["bob"])
            await wait_until(lambda: len(receiver.requests) == 1)
            pair.lag()
            await rig.fanned_out(["bob"])
            # It read the entry, and reads it again and again as one that is pending.
            await wait_until(lambda: worker.stats.sender.failures > 2, 10)
            assert len(receiver.requests) == 1
            pair.catch_up()
            await wait_until(lambda: len(receiver.requests) == 2, 10)

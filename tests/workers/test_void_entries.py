"""An entry left over from before a delivery was cancelled or sent again is not acted upon."""

import pytest

from app.domain.delivery import State
from app.store.bodies import Bodies
from app.store.client import Store
from tests.store.scene import scene
from tests.store.service import NOW_MS, Result, cancel
from workers.dispatch import Dispatch
from workers.intake import Intake, parse_again
from workers.targets import Targets


class Bodyless(Dispatch):
    """Makes no bodies: nothing is sent here."""

    def __init__(self) -> None:
        pass

    def body_of(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("state", "is_sent"),
    [
        (None, True),
        (State.RETRYING, False),
        (State.PARKED_RETRYING, False),
        (State.DELIVERED, False),
        (State.CANCELLED, False),
    ],
)
async def test_only_what_stands_nowhere_else_is_sent_for_an_entry(
    store: Store, state: State | None, is_sent: bool
) -> None:
    on = await scene(store)
    await on.sender.record([Result(on.id(), State.RETRYING, due_ms=NOW_MS)], done=on.entries)
    await on.sender.move_due(NOW_MS)
    ((entry, raw),) = await on.sender.read(again=True)
    if state is State.CANCELLED:
        await cancel(store, on.event, 0, 1)
    elif state is not None:
        # Another entry of the delivery has brought it there meanwhile.
        await on.sender.record([Result(on.id(), state, 2, due_ms=NOW_MS + 5_000)])
    intake = Intake(
        store,
        shard=1,
        bodies=Bodies(on.service.posts),
        targets=Targets(on.service.endpoints, allow_ports=()),
        dispatch=Bodyless(),
    )
    again = parse_again(entry, dict(zip(raw[0::2], raw[1::2], strict=True)))
    (admitted,) = await intake.again(None, [again])
    assert [item.endpoint for item in admitted.items] == ([on.endpoints[0].id] if is_sent else [])

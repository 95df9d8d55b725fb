"""A post to one user's endpoints, read by the sender of their shard and not dealt with yet."""

from dataclasses import dataclass, field
from typing import Any

from app.domain.post import Event
from app.store import keys
from app.store.client import Store
from app.store.endpoints import Endpoint
from app.store.replies import pairs
from app.wire import Record
from tests.store.places import check_places
from tests.store.service import SHARDS, Sender, Service, fan_out, users_of

((BOB,),) = (users_of(1, 1),)


@dataclass(slots=True)
class Scene:
    """`places` and `record` check the whole store on the way."""

    store: Store
    service: Service
    event: Event
    endpoints: list[Endpoint]
    sender: Sender
    entries: list[bytes] = field(default_factory=list[bytes])

    def id(self, number: int = 0) -> str:
        return f"{self.event.post}-{self.event.version}-0-{self.endpoints[number].id}"

    async def places(self) -> list[str]:
        found = await check_places(self.store, SHARDS)
        return [found[self.id(number)].place for number in range(len(self.endpoints))]

    async def record(self, number: int = 0) -> Record | None:
        return (await check_places(self.store, SHARDS))[self.id(number)].record


async def scene(store: Store, endpoints: int = 1, **limits: Any) -> Scene:
    service = Service.on(store, endpoints_max=10_000)
    made = [await service.endpoint(BOB) for _ in range(endpoints)]
    event = await service.post()
    await fan_out(store, event, [BOB])
    sender = await Sender(store, 1, **limits).take()
    entries = [id_ for id_, _ in await sender.read()]
    return Scene(store, service, event, made, sender, entries)


async def tally(scene: Scene) -> dict[str, int]:
    raw = await scene.store.execute("HGETALL", keys.tally(1, scene.event.post))
    found = {name.decode(): int(value) for name, value in pairs(raw)}
    assert (found.pop("recipients"), found.pop("webhooks")) == (1, len(scene.endpoints))
    return {state: count for state, count in found.items() if count}

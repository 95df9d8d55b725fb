"""The endpoints a sender knows, made ready; loaded in one round trip for all that a read needs."""

import logging
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from app.clock import now_ms, steady_ms
from app.domain.breaker import EndpointState
from app.domain.ids import shard_of_id
from app.errors import BadSecret, UrlRejected
from app.store.endpoints import Endpoint, Endpoints
from workers.target import Target

log = logging.getLogger(__name__)

KEPT_MAX = 100_000
# Every change is told, and when some may not have been, the whole shard is in doubt: this is a net
# under that. To read an endpoint anew costs as much as to send to it.
AGE_MAX_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """Targets by endpoint id. `unusable` exist, but cannot be sent to as things are set up here:
    their secret is sealed by a key we do not have, or their URL is not allowed any more."""

    targets: dict[str, Target]
    unusable: frozenset[str]


class Targets:
    """The endpoints' targets. One that is known stays the same object, as long as it is kept."""

    def __init__(
        self, endpoints: Endpoints, *, allow_ports: tuple[int, ...], kept_max: int = KEPT_MAX
    ) -> None:
        self._endpoints = endpoints
        self._allow_ports = allow_ports
        self._kept_max = kept_max
        self._kept: OrderedDict[str, Target] = OrderedDict()
        self._doubts = 0

    @property
    def open(self) -> int:
        """How many of those known have an open breaker; looks at all of them."""
        return sum(1 for t in self._kept.values() if t.health.state is EndpointState.OPEN)

    @property
    def unverified(self) -> int:
        """How many of those known have not echoed a challenge yet; looks at all of them."""
        kept = self._kept.values()
        return sum(1 for t in kept if t.health.state is EndpointState.UNVERIFIED)

    def get(self, endpoint_id: str) -> Target | None:
        """The target, if it is known here."""
        return self._kept.get(endpoint_id)

    def forget_shard(self, shard: int) -> None:
        """Another worker has had the shard: what is known of its endpoints may be old."""
        for id_ in [id_ for id_ in self._kept if shard_of_id(id_) == shard]:
            del self._kept[id_]

    def doubt_shard(self, shard: int) -> None:
        """Some of its endpoints may have changed untold: each is read again before it is used. They
        stay the same objects, since what they know of health may be newer than the store's."""
        self._doubts += 1
        for id_, target in self._kept.items():
            if shard_of_id(id_) == shard:
                target.loaded_at_ms = 0

    async def load(self, ids: Collection[str]) -> Loaded:
        """The targets of these endpoints. They are in no danger of being dropped meanwhile."""
        old_ms = steady_ms() - AGE_MAX_MS
        found: dict[str, Target] = {}
        missing: list[str] = []
        for id_ in ids:
            target = self._kept.get(id_)
            if target is None or target.loaded_at_ms < old_ms:
                missing.append(id_)
            else:
                self._kept.move_to_end(id_)
                found[id_] = target
        if not missing:
            return Loaded(found, frozenset())
        read = await self.reload(missing)
        return Loaded(found | read.targets, read.unusable)

    async def reload(self, ids: Collection[str]) -> Loaded:
        """Reads these again."""
        doubts = self._doubts
        endpoints = await self._endpoints.get_many(list(ids))
        at_ms = now_ms()
        # What came into doubt while it was read may have been read before.
        loaded_at_ms = steady_ms() if doubts == self._doubts else 0
        found: dict[str, Target] = {}
        unusable: set[str] = set()
        for id_ in ids:
            endpoint = endpoints.get(id_)
            target = None if endpoint is None else self._ready(endpoint, at_ms)
            if target is not None:
                target.loaded_at_ms = loaded_at_ms
                found[id_] = self._kept[id_] = target
                self._kept.move_to_end(id_)
                continue
            known = self._kept.pop(id_, None)
            if endpoint is not None:
                unusable.add(id_)
            elif known is not None:
                known.is_gone = True
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return Loaded(found, frozenset(unusable))

    def _ready(self, endpoint: Endpoint, at_ms: int) -> Target | None:
        target = self._kept.get(endpoint.id)
        try:
            if target is None:
                return Target(endpoint, at_ms, self._allow_ports)
            target.load(endpoint, at_ms, self._allow_ports)
            return target
        except (UrlRejected, BadSecret) as error:
            log.error(
                "endpoint cannot be used", extra={"endpoint": endpoint.id, "error": str(error)}
            )
            return None

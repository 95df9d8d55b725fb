"""The endpoints a sender knows, made ready; loaded in one round trip for all that a read needs."""

import logging
from collections import OrderedDict
from collections.abc import Collection

from app.clock import now_ms
from app.domain.breaker import EndpointState
from app.errors import BadSecret, SealedByAnotherKey, UrlRejected
from app.store.endpoints import Endpoint, Endpoints
from workers.target import Target

log = logging.getLogger(__name__)

KEPT_MAX = 100_000
# Changes are told; this bounds how long one that was not (a full change stream) goes unseen.
AGE_MAX_MS = 60_000


class Targets:
    """Targets by endpoint id; None stands for an endpoint that is gone or cannot be used."""

    def __init__(self, endpoints: Endpoints, *, allow_ports: tuple[int, ...]) -> None:
        self._endpoints = endpoints
        self._allow_ports = allow_ports
        self._kept: OrderedDict[str, Target | None] = OrderedDict()

    def get(self, endpoint_id: str) -> Target | None:
        return self._kept.get(endpoint_id)

    @property
    def open(self) -> int:
        """How many of those known have an open breaker; looks at all of them."""
        known = self._kept.values()
        return sum(1 for t in known if t is not None and t.health.state is EndpointState.OPEN)

    async def load(self, ids: Collection[str]) -> None:
        """Makes sure that these are known."""
        old_ms = now_ms() - AGE_MAX_MS
        missing: list[str] = []
        for id_ in ids:
            target = self._kept.get(id_)
            if target is None or target.loaded_at_ms < old_ms:
                missing.append(id_)
        if missing:
            await self.reload(missing)

    async def reload(self, ids: Collection[str]) -> None:
        """Reads these again. A target that is in use stays the same object."""
        found = await self._endpoints.get_many(list(ids))
        at_ms = now_ms()
        for id_ in ids:
            endpoint = found.get(id_)
            self._kept[id_] = None if endpoint is None else self._ready(endpoint, at_ms)
            self._kept.move_to_end(id_)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def _ready(self, endpoint: Endpoint, at_ms: int) -> Target | None:
        target = self._kept.get(endpoint.id)
        try:
            if target is None:
                return Target(endpoint, at_ms, self._allow_ports)
            target.load(endpoint, at_ms, self._allow_ports)
            return target
        except (UrlRejected, BadSecret, SealedByAnotherKey) as error:
            log.error(
                "endpoint cannot be used", extra={"endpoint": endpoint.id, "error": str(error)}
            )
            return None

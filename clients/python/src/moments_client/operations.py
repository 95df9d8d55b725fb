"""Whether the service lives and is ready, and what it has to do."""

from typing import Any

from moments_client.answers import Health, Readiness, Stats
from moments_client.decoding import decode
from moments_client.errors import Unavailable
from moments_client.transport import Request, Transport


class Operations:
    """`moments.operations`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def health(self) -> Health:
        """Whether the api process lives."""
        return await self._transport.fetch(Health, Request(method="GET", path="/healthz"))

    async def ready(self) -> Readiness:
        """Whether it can do its work, and if not, which check says so. Asked once, not again."""
        request = Request(method="GET", path="/readyz", repeatable=False)
        try:
            return await self._transport.fetch(Readiness, request)
        except Unavailable as error:
            if "checks" not in error.members:
                raise
            return decode(Readiness, dict(error.members))

    async def stats(self) -> Stats:
        """Queues, leases, nodes, workers, and endpoints by state."""
        return await self._transport.fetch(Stats, Request(method="GET", path="/v1/stats"))

    async def metrics(self) -> str:
        """The api process's metrics, in the text format of Prometheus."""
        return (await self._transport.send(Request(method="GET", path="/metrics"))).text

    async def description(self) -> dict[str, Any]:
        """The service's description of itself, an OpenAPI document."""
        return (await self._transport.send(Request(method="GET", path="/openapi.json"))).json()

    async def push_description(self) -> dict[str, Any]:
        """What the service pushes, as it describes it itself: an AsyncAPI document."""
        return (await self._transport.send(Request(method="GET", path="/asyncapi.json"))).json()

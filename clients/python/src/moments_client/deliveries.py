"""Deliveries: what became of a post for each recipient and channel; dead letters."""

from datetime import datetime

from moments_client import answers
from moments_client.answers import Channel, Delivery, DeliveryState, FullDelivery, Scheduled
from moments_client.listing import Listing
from moments_client.times import rfc3339
from moments_client.transport import Request, Transport, given, segment


class Deliveries:
    """`moments.deliveries`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of_post(
        self,
        post: str,
        *,
        state: DeliveryState | None = None,
        channel: Channel | None = None,
        limit: int | None = None,
    ) -> Listing[answers.Deliveries, Delivery]:
        """A post's deliveries. Its pages have the `counts` of the whole post, too."""
        path = f"/v1/posts/{segment(post)}/deliveries"
        query = given(state=state, channel=channel, limit=limit)
        return Listing(self._transport, answers.Deliveries, Delivery, path, query)

    async def get(self, delivery: str) -> FullDelivery:
        """A delivery with its attempts."""
        return await self._transport.fetch(
            FullDelivery, Request(method="GET", path=_path(delivery))
        )

    async def retry(self, delivery: str) -> FullDelivery:
        """Makes it again now, whatever its state."""
        return await self._transport.fetch(
            FullDelivery, Request(method="POST", path=f"{_path(delivery)}:retry")
        )

    def dead_letters(
        self, *, endpoint: str | None = None, limit: int | None = None
    ) -> Listing[answers.DeadLetters, Delivery]:
        """Deliveries that were given up, of all endpoints or one."""
        query = given(endpoint=endpoint, limit=limit)
        path = "/v1/dead-letters"
        return Listing(self._transport, answers.DeadLetters, Delivery, path, query)

    async def replay(
        self, *, endpoint: str | None = None, since: datetime | None = None
    ) -> Scheduled:
        """Makes dead letters again: all, an endpoint's, or those since a time."""
        body = given(endpoint=endpoint, since=None if since is None else rfc3339(since))
        return await self._transport.fetch(
            Scheduled, Request(method="POST", path="/v1/dead-letters:replay", body=body)
        )


def _path(delivery: str) -> str:
    return f"/v1/deliveries/{segment(delivery)}"

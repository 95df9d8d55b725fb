"""Endpoints: the addresses that webhooks go to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

from moments_client import answers
from moments_client.answers import Attempt, Endpoint, FullEndpoint, Method, Scheduled, Signing
from moments_client.listing import Listing
from moments_client.times import rfc3339
from moments_client.transport import Request, Transport, given, segment

T = TypeVar("T")

_WAITS_S = 20.0  # a ping, or a challenge, ends with the receiver's own deadline


class EndpointOptions(TypedDict, total=False):
    """How an endpoint is to be served.

    `types`: patterns such as `post.*` (the default), `task.created` or `*`. `method` `rest`:
    created, updated and deleted come as POST, PUT and DELETE; `GET`: in the query. `rate_per_s`:
    requests a second at most. `retry_schedule_s`: seconds to wait after each attempt that failed.
    """

    types: Sequence[str] | None
    method: Method | None
    headers: Mapping[str, str] | None
    rate_per_s: float | None
    retry_schedule_s: Sequence[float] | None
    description: str | None


class EndpointChange(EndpointOptions, total=False):
    """What may be changed; None brings an option back to its default."""

    url: str


class Endpoints:
    """`moments.endpoints`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        user: str,
        url: str,
        *,
        secret: str | None = None,
        signing: Signing | None = None,
        **options: Unpack[EndpointOptions],
    ) -> FullEndpoint:
        """Where a user's events are to be sent. Keep the `secret` of the answer: no other shows it.

        Without `secret` (`whsec_…`) one is made. With `signing="ed25519"` there is a `public_key`
        instead. Not repeated by itself: there would be two.
        """
        body = given(user=user, url=url, secret=secret, signing=signing, **options)
        return await self._transport.fetch(
            FullEndpoint, Request(method="POST", path="/v1/endpoints", body=body)
        )

    def of_user(
        self, user: str, *, limit: int | None = None
    ) -> Listing[answers.Endpoints, Endpoint]:
        """A user's endpoints."""
        path = f"/v1/users/{segment(user)}/endpoints"
        return Listing(self._transport, answers.Endpoints, Endpoint, path, given(limit=limit))

    async def get(self, endpoint: str) -> Endpoint:
        """An endpoint, with its health."""
        return await self._transport.fetch(Endpoint, Request(method="GET", path=_path(endpoint)))

    async def change(self, endpoint: str, **changes: Unpack[EndpointChange]) -> Endpoint:
        """Changes what is given, and nothing else."""
        request = Request(
            method="PATCH",
            path=_path(endpoint),
            body=dict(changes),
            repeatable=True,  # it says what is to be, not what is to happen
        )
        return await self._transport.fetch(Endpoint, request)

    async def delete(self, endpoint: str) -> None:
        """Takes it away, with its secret; what is pending for it is cancelled."""
        await self._transport.send(
            Request(method="DELETE", path=_path(endpoint), gone_is_done=True)
        )

    async def rotate_secret(self, endpoint: str, *, overlap_s: int | None = None) -> FullEndpoint:
        """Makes a new secret. The one before signs beside it for `overlap_s` (a day)."""
        return await self._post(
            FullEndpoint, f"{_path(endpoint)}/secret:rotate", given(overlap_s=overlap_s)
        )

    async def ping(self, endpoint: str) -> Attempt:
        """Sends a signed `ping` now, and tells what came of it."""
        return await self._post(Attempt, f"{_path(endpoint)}:ping", waits_s=_WAITS_S)

    async def verify(self, endpoint: str) -> Attempt:
        """Sends a challenge now to one that is `unverified`, and tells what came of it."""
        return await self._post(Attempt, f"{_path(endpoint)}:verify", waits_s=_WAITS_S)

    async def enable(self, endpoint: str) -> Endpoint:
        """Makes one that was disabled, or fails, active again."""
        return await self._post(Endpoint, f"{_path(endpoint)}:enable")

    async def recover(
        self, endpoint: str, since: datetime, until: datetime | None = None
    ) -> Scheduled:
        """Sends again what was not delivered from `since` until `until` (now), at a pace."""
        body = {"since": rfc3339(since), **given(until=until and rfc3339(until))}
        return await self._post(Scheduled, f"{_path(endpoint)}:recover", body)

    def attempts(
        self, endpoint: str, *, limit: int | None = None
    ) -> Listing[answers.Attempts, Attempt]:
        """Its attempts, the newest first; the last 200 are kept."""
        path = f"{_path(endpoint)}/attempts"
        return Listing(self._transport, answers.Attempts, Attempt, path, given(limit=limit))

    async def _post(
        self,
        type_: type[T],
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        waits_s: float = 0.0,
    ) -> T:
        request = Request(method="POST", path=path, body=body, waits_s=waits_s)
        return await self._transport.fetch(type_, request)


def _path(endpoint: str) -> str:
    return f"/v1/endpoints/{segment(endpoint)}"

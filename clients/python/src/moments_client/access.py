"""API keys, and tokens of users."""

from collections.abc import Sequence

from moments_client import answers
from moments_client.answers import Key, MadeKey, Scope, Token
from moments_client.listing import Listing
from moments_client.transport import Request, Transport, given, segment


class Tokens:
    """`moments.tokens`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, user: str, *, ttl_s: int | None = None) -> Token:
        """A token of a user, good for their feed and sockets, for `ttl_s` (an hour)."""
        path = f"/v1/users/{segment(user)}/tokens"
        # Two tokens are no more than one: nothing is kept of them.
        request = Request(method="POST", path=path, body=given(ttl_s=ttl_s), repeatable=True)
        return await self._transport.fetch(Token, request)


class Keys:
    """`moments.keys`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        rate_per_s: float | None = None,
        verify_endpoints: bool = False,
    ) -> MadeKey:
        """Makes an API key; its `key` is shown only in this answer.

        `rate_per_s`: requests a second it may send. `verify_endpoints`: endpoints made with it have
        to echo a challenge before they are sent anything else.
        """
        body = given(name=name, scopes=list(scopes), rate_per_s=rate_per_s)
        request = Request(
            method="POST", path="/v1/keys", body={**body, "verify_endpoints": verify_endpoints}
        )
        return await self._transport.fetch(MadeKey, request)

    def every(self, *, limit: int | None = None) -> Listing[answers.Keys, Key]:
        """All API keys, in the order of their making."""
        return Listing(self._transport, answers.Keys, Key, "/v1/keys", given(limit=limit))

    async def revoke(self, key: str) -> None:
        """Ends a key, named by its `id`."""
        path = f"/v1/keys/{segment(key)}"
        await self._transport.send(Request(method="DELETE", path=path, gone_is_done=True))

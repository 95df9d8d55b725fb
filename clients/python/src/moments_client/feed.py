"""The feed: what a user was sent, read from where they stopped; and their cursor."""

from moments_client import answers
from moments_client.answers import Cursor
from moments_client.transport import Request, Transport, given, segment


class Feed:
    """`moments.feed`. The user's own token is enough for it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(
        self,
        user: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        wait_s: float | None = None,
    ) -> answers.Feed:
        """What comes after the offset `after` (else after the cursor). With `wait_s` (30 at most)
        it waits so long for something to come, when there is nothing yet."""
        request = Request(
            method="GET",
            path=f"/v1/users/{segment(user)}/feed",
            query=given(after=after, limit=limit, wait_s=wait_s),
            waits_s=wait_s or 0.0,
        )
        return await self._transport.fetch(answers.Feed, request)

    async def move_cursor(self, user: str, offset: int) -> Cursor:
        """Marks all up to `offset` as dealt with. It never goes back."""
        path = f"/v1/users/{segment(user)}/cursor"
        request = Request(method="PUT", path=path, body={"offset": offset})
        return await self._transport.fetch(Cursor, request)

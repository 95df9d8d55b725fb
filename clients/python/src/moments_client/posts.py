"""Posts: made, read, edited and taken back."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from moments_client import answers
from moments_client.answers import Post, PostHead
from moments_client.listing import Listing
from moments_client.transport import Request, Transport, given, segment


class Posts:
    """`moments.posts`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        author: str,
        data: Mapping[str, Any],
        *,
        type: str | None = None,
        only: Sequence[str] | None = None,
        excepted: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Post:
        """Posts `data` to the author's audience, or to a part of it: `only` some, or all `excepted`
        some.

        Repeated, it is still one post: with it goes an `Idempotency-Key` of its own, unless one is
        given (1-255 printable ASCII characters, good for 24 hours).
        """
        audience = {"only": only, "except": excepted}
        cut = {name: list(users) for name, users in audience.items() if users is not None}
        body = given(author=author, data=dict(data), type=type, audience=cut or None)
        return await self._transport.fetch(
            Post,
            Request(
                method="POST",
                path="/v1/posts",
                body=body,
                headers={"idempotency-key": idempotency_key or uuid4().hex},
                repeatable=True,
            ),
        )

    def newest(self, *, limit: int | None = None) -> Listing[answers.Posts, PostHead]:
        """The newest posts of all authors, without their data, the newest first."""
        query = given(limit=limit)
        return Listing(self._transport, answers.Posts, PostHead, "/v1/posts", query)

    async def get(self, post: str) -> Post:
        """The post as it is now."""
        return await self._transport.fetch(Post, Request(method="GET", path=_path(post)))

    async def edit(self, post: str, data: Mapping[str, Any]) -> Post:
        """Gives it new data; whoever got it is told. Each edit is a version, so that one without an
        answer is not repeated by itself."""
        request = Request(method="PATCH", path=_path(post), body={"data": dict(data)})
        return await self._transport.fetch(Post, request)

    async def delete(self, post: str) -> Post:
        """Takes it back: what is still pending is cancelled, whoever got it is told."""
        return await self._transport.fetch(Post, Request(method="DELETE", path=_path(post)))


def _path(post: str) -> str:
    return f"/v1/posts/{segment(post)}"

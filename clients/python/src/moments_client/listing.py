"""Lists of the API, page by page, read as one: the next page is asked for when it is needed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from moments_client.transport import Request, Transport

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Page(Protocol[T_co]):
    """What every page has: its items, and where the next one begins."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | None: ...


P = TypeVar("P", bound=Page[object])


class Listing(Generic[P, T]):
    """`async for item in listing` goes over all pages; `pages()` gives the pages themselves.

    Each iteration begins anew, and asks for `limit` items (1-200) at a time. What changes meanwhile
    may be seen or not; what stays is seen once.
    """

    def __init__(
        self,
        transport: Transport,
        page: type[P],
        item: type[T],
        path: str,
        query: Mapping[str, object],
    ) -> None:
        self._transport = transport
        self._page = page
        self._path = path
        self._query = query

    async def first(self) -> P:
        """The first page alone."""
        return await self._fetch(None)

    async def all(self) -> list[T]:
        """Every item, in one list."""
        return [item async for item in self]

    async def pages(self) -> AsyncIterator[P]:
        """The pages, one after the other."""
        page = await self._fetch(None)
        yield page
        while page.next is not None:
            page = await self._fetch(page.next)
            yield page

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item  # pyright: ignore[reportReturnType]  # `item` says what a page holds

    async def _fetch(self, after: str | None) -> P:
        query = {**self._query}
        if after is not None:
            query["after"] = after
        return await self._transport.fetch(
            self._page, Request(method="GET", path=self._path, query=query)
        )

"""The client: every call of the API by its kind, and subscriptions of users."""

from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

import httpx

from moments_client.access import Keys, Tokens
from moments_client.deliveries import Deliveries
from moments_client.endpoints import Endpoints
from moments_client.feed import Feed
from moments_client.graph import Graph
from moments_client.messages import Ack, EncodingName, Position
from moments_client.operations import Operations
from moments_client.posts import Posts
from moments_client.subscription import OnGap, OnReset, OnState, State, Subscription
from moments_client.transport import Retries, Transport

_API_PORT, _GATEWAY_PORT = 8000, 8001
_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}


class Moments:
    """A service of moments, seen with one API key.

        async with Moments("http://127.0.0.1:8000", "mk_…") as moments:
            await moments.posts.create("alice", {"text": "hello"})
            async for event in moments.subscribe("bob"):
                print(event.offset, event.type, event.post)

    Calls raise `ProblemError` (one class for each kind), `Unreachable` or `UnexpectedAnswer`. What
    can be repeated without doing it twice is repeated until `retries.deadline_s` is over.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        socket_url: str | None = None,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """`url` is the api's, `key` an API key (`mk_…`), or a user's token for their own feed.

        `socket_url` is the gateway's (`wss://…`); without it port 8001 where the api has 8000.
        `http` brings connections of one's own (proxies, certificates), and stays open. Raises
        ValueError for a URL that is none.
        """
        self._transport = Transport(url, key, retries=retries or Retries(), http=http)
        self._socket_url = socket_url
        self._subscriptions: set[Subscription] = set()
        self.posts = Posts(self._transport)
        self.deliveries = Deliveries(self._transport)
        self.graph = Graph(self._transport)
        self.endpoints = Endpoints(self._transport)
        self.feed = Feed(self._transport)
        self.tokens = Tokens(self._transport)
        self.keys = Keys(self._transport)
        self.operations = Operations(self._transport)

    def subscribe(
        self,
        user: str,
        *,
        position: Position | None = None,
        ack: Ack = "auto",
        encoding: EncodingName = "json",
        ttl_s: int = 3_600,
        on_gap: OnGap | None = None,
        on_reset: OnReset | None = None,
        on_state: OnState | None = None,
    ) -> Subscription:
        """A user's events, as they happen: see `Subscription`. Tokens, good for `ttl_s` each, are
        made with the API key as they are needed.

        Raises ValueError when nobody said where the gateway is.
        """
        subscription = Subscription(
            self._socket_url or gateway_of(self._transport.url),
            lambda: self._token_of(user, ttl_s),
            position=position,
            ack=ack,
            encoding=encoding,
            on_gap=on_gap,
            on_reset=on_reset,
            on_state=on_state,
        )
        closed = {one for one in self._subscriptions if one.state is State.CLOSED}
        self._subscriptions -= closed
        self._subscriptions.add(subscription)
        return subscription

    async def _token_of(self, user: str, ttl_s: int) -> str:
        return (await self.tokens.create(user, ttl_s=ttl_s)).token

    async def close(self) -> None:
        """Closes its subscriptions and its connections."""
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self._transport.close()

    async def __aenter__(self) -> "Moments":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def gateway_of(api_url: str) -> str:
    """Where the gateway is when both have their usual ports. Raises ValueError when not."""
    parts = urlsplit(api_url)
    if parts.port != _API_PORT:
        raise ValueError(
            f"where is the gateway of {api_url}? Say so: Moments(…, socket_url='wss://…')"
        )
    host = parts.netloc.rpartition(":")[0]
    return urlunsplit((_SOCKET_SCHEMES[parts.scheme], f"{host}:{_GATEWAY_PORT}", "", "", ""))

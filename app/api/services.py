"""What the calls work with: the store's parts, and the limits they keep to."""

import logging
from dataclasses import dataclass, field

from app.api.rates import Rates
from app.api.sessions import Sessions
from app.api.stats import Stats
from app.api.waiters import Waiters
from app.clock import now_ms
from app.domain.address import Network
from app.domain.socket_url import Sockets
from app.guard import Guard
from app.metrics import Metrics
from app.settings import Settings
from app.store.apikeys import ApiKeys
from app.store.bodies import Bodies
from app.store.client import Store
from app.store.endpoints import Endpoints
from app.store.epoch import EpochWatch
from app.store.graph import Graph
from app.store.inbox import Inbox
from app.store.ledger import Ledger
from app.store.posts import Posts
from app.tokens import TokenVerifier

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the API. `ping_timeout_s` is for the whole way to a sender and back.

    A call answers at the latest `answer_timeout_s` after its body, and that `body_timeout_s`
    after its head; what a long poll or a ping waits on purpose comes on top. `lookup_timeout_s`
    is for the name in an endpoint's URL.
    """

    body_bytes_max: int = 256 * 1024
    body_timeout_s: float = 30.0
    answer_timeout_s: float = 10.0
    lookup_timeout_s: float = 3.0
    import_line_bytes_max: int = 4_096
    retention_s: int = 7 * 86_400
    allow_ports: tuple[int, ...] = ()
    drain_gap_ms: float = 20.0
    ping_timeout_s: float = 20.0
    token_ttl_max_s: int = 30 * 86_400
    posts_backlog_max: int = 100_000
    trusted_proxies: tuple[Network, ...] = ()
    verify_endpoints: bool = False
    console_sockets_max: int = 32

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            body_bytes_max=settings.body_bytes_max,
            body_timeout_s=settings.body_timeout_s,
            answer_timeout_s=settings.answer_timeout_s,
            import_line_bytes_max=settings.import_line_bytes_max,
            retention_s=settings.retention_s,
            allow_ports=settings.allow_ports,
            drain_gap_ms=settings.drain_gap_ms,
            ping_timeout_s=settings.request_deadline_s + 5.0,
            token_ttl_max_s=settings.token_ttl_max_s,
            posts_backlog_max=settings.posts_backlog_max,
            trusted_proxies=settings.trusted_proxies,
            verify_endpoints=settings.verify_endpoints,
            console_sockets_max=settings.console_sockets_max,
        )


@dataclass(slots=True)
class Services:
    """Made once, before the first request, by whoever runs the api. Only `epoch` ever changes."""

    store: Store
    shards: int
    epoch: str
    posts: Posts
    bodies: Bodies
    graph: Graph
    inbox: Inbox
    endpoints: Endpoints
    ledger: Ledger
    api_keys: ApiKeys
    waiters: Waiters
    guard: Guard
    tokens: TokenVerifier
    token_secret: str | None
    metrics: Metrics
    limits: Limits = field(default_factory=Limits)
    rates: Rates = field(default_factory=Rates)
    sessions: Sessions | None = None  # without them there is no console
    stats: Stats = field(default_factory=Stats)
    sockets: Sockets = field(default_factory=Sockets)  # where pages find them
    admin_key: str | None = None
    watch: EpochWatch | None = None

    async def prepare(self) -> None:
        """Brings the admin key that the store knows in line with that of the settings."""
        key = await self.api_keys.set_bootstrap(self.admin_key, now_ms())
        if self.admin_key is not None and key is None:
            log.warning("the admin key of the settings was revoked by call: set another")

    async def begin_anew(self, epoch: str) -> None:
        """The store has lost everything: keys, routes, inboxes."""
        await self.prepare()
        self.api_keys.forget()
        self.epoch = epoch
        await self.waiters.begin_anew()

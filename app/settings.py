"""Every setting of the service: read once from the environment, passed down as values."""

import json
import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.domain.credential import may_be_api_key
from app.domain.origin import why_no_origin
from app.domain.proxy import parse_proxy
from app.domain.shard import SHARDS_MAX
from app.domain.socket_url import why_no_socket_url
from app.secret_files import read_files

AckMode = Literal["memory", "fsync", "replica"]
LogFormat = Literal["auto", "text", "json"]
Network = IPv4Network | IPv6Network

RATE_PER_S_MAX = 100_000
HEADERS_PARSED_MAX = 128  # what the parser of the gateway takes

# What may stand in a file, named by the variable with `_FILE` behind it.
SECRET_SETTINGS = (
    "redis_url",
    "redis_password",
    "admin_key",
    "token_secret",
    "token_keys",
    "secret_key",
    "secret_keys_old",
    "egress_proxy",
)
# Those of which there may be none: an empty file is one.
_MAY_BE_EMPTY = ("token_keys", "secret_keys_old", "egress_proxy")

_PREFIX = "MOMENTS_"
SECRET_VARIABLES = {name: _PREFIX + name.upper() for name in SECRET_SETTINGS}
_DAY_S = 86_400
_TOKEN_SECRET_MIN = 32  # characters


def _of(default: Any, comment: str, **limits: Any) -> Any:
    """A setting with its default, what it is for, and its limits. Units stand in the names."""
    return Field(default=default, description=comment, **limits)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError when a name comes twice: which one counts is unclear."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError
    return made


class _SecretFiles(PydanticBaseSettingsSource):
    """`MOMENTS_ADMIN_KEY_FILE` and its like."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # none by itself: all are read at once

    def __call__(self) -> dict[str, Any]:
        return read_files(SECRET_VARIABLES, os.environ, _MAY_BE_EMPTY)


class Settings(BaseSettings):
    """Environment variables carry the prefix `MOMENTS_`, e.g. `MOMENTS_REDIS_URL`.

    Each of `SECRET_SETTINGS` can stand in a file instead: `MOMENTS_SECRET_KEY_FILE=/run/secrets/x`.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _SecretFiles(settings_cls), env_settings

    # Store
    redis_url: str = _of(
        "redis://127.0.0.1:6379/0",
        "Where the store is: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://. "
        "`moments up` starts its own and sets this.",
    )
    redis_password: str | None = _of(
        None,
        "Password of the store's user, for a URL that has none: redis://moments@host. In a file, "
        "named by MOMENTS_REDIS_PASSWORD_FILE, nobody sees it.",
    )
    shards: int | None = _of(
        None,
        "Number of shards. Fixed when a store is first used (then 8 unless set); "
        "another value later refuses to start.",
        ge=1,
        le=SHARDS_MAX,
    )
    ack: AckMode = _of(
        "memory",
        "When a post is answered with 202: in the store's memory and handed to its log (memory), "
        "on its disk (fsync), or at a replica (replica). Above memory nothing is pushed, shown or "
        "sent either before it is as safe.",
    )
    ack_timeout_ms: int = _of(5_000, "How long `fsync` and `replica` may take.", ge=1)
    retention_s: int = _of(
        7 * _DAY_S, "How long posts, the ledger and dead letters are kept.", ge=60
    )

    # Who may call
    admin_key: str | None = _of(
        None,
        "An admin key, good for as long as every api has it: mk_ and 13 characters or more. "
        "`moments up` makes one into DIR/admin.key.",
    )
    token_secret: str | None = _of(
        None,
        "HS256 secret of user tokens, 32 characters or more. `moments up` makes one.",
        min_length=_TOKEN_SECRET_MIN,
    )
    token_public_key: str | None = _of(
        None, "PEM public key (EdDSA or RS256) of user tokens made elsewhere."
    )
    token_keys: Annotated[dict[str, str], NoDecode] = _of(
        {},
        "More keys of user tokens, for while one takes another's place: a JSON object of `kid` to "
        "HS256 secret or PEM public key.",
        max_length=16,
    )
    token_ttl_max_s: int = _of(30 * _DAY_S, "Longest life of a token this service makes.", ge=1)
    secret_key: str | None = _of(
        None,
        "Key that encrypts endpoint secrets at rest: 32 bytes in base64. `moments up` makes one.",
    )
    secret_keys_old: str = _of(
        "",
        "Keys before it, comma-separated: they open what they have sealed. `moments secret-key "
        "rotate` makes them needless.",
    )

    # Console
    console: bool = _of(True, "Whether the api shows pages to browsers, at / of its port.")
    console_session_s: float = _of(
        12 * 3_600.0, "How long a browser stays signed in to the console.", ge=60, le=30 * _DAY_S
    )
    socket_url: str | None = _of(
        None,
        "Where the pages of the api find the gateways: wss://push.example.com/v1/socket. Their "
        "policy lets them open sockets to its origin and to no other.",
    )
    socket_port: int = _of(
        0,
        "The gateways' port on the host that pages are fetched from, where `socket_url` is not "
        "set; 0 where it is not known. `moments up` sets it.",
        ge=0,
        le=65_535,
    )
    console_sockets_max: int = _of(
        32, "Browsers that watch the console live at one api process.", ge=1, le=1_000
    )

    # Limits of the API
    body_bytes_max: int = _of(256 * 1024, "Largest request body.", ge=1024)
    connections_max: int = _of(4_096, "Connections of one api process at once.", ge=1)
    connections_per_address_max: int = _of(
        0,
        "Connections of one address at once at one api or gateway process, 0 for any number: many "
        "people may share an address.",
        ge=0,
    )
    headers_max: int = _of(
        100, "Header fields of a request to the api or a gateway.", ge=16, le=HEADERS_PARSED_MAX
    )
    head_bytes_max: int = _of(
        64 * 1024, "Request line and headers of a request to the api.", ge=4_096
    )
    head_timeout_s: float = _of(
        10.0, "From a connection, or a further request's first byte, to the end of its head.", gt=0
    )
    body_timeout_s: float = _of(
        30.0, "A whole request body; for an import the time between two pieces of it.", gt=0
    )
    answer_timeout_s: float = _of(
        10.0, "From a whole request to its answer, what long polls and pings wait left out.", gt=0
    )
    import_line_bytes_max: int = _of(4096, "Longest line of a graph import.", ge=64)
    friends_max: int = _of(10_000, "Friends of one user.", ge=1)
    follows_max: int = _of(10_000, "Users one user may follow.", ge=1)
    blocks_max: int = _of(10_000, "Users one user may block.", ge=1)
    endpoints_max: int = _of(16, "Endpoints of one user.", ge=1)
    api_keys_max: int = _of(1_000, "API keys.", ge=1)
    posts_backlog_max: int = _of(
        100_000, "Accepted posts of one shard not fanned out yet; above it posting answers 503."
    )
    post_versions_max: int = _of(1_000, "Versions of one post.", ge=2)
    idempotency_ttl_s: int = _of(_DAY_S, "How long an Idempotency-Key is remembered.", ge=1)
    feed_waits_max: int = _of(1_000, "Long polls one api process holds at once.", ge=1)

    # Rates: each api process counts for itself, 0 is no limit
    user_rate_per_s: float = _of(
        20.0, "Requests of one user, by their tokens, in the long run.", ge=0, le=RATE_PER_S_MAX
    )
    user_burst: int = _of(100, "The same at once, after a rest.", ge=1)
    key_rate_per_s: float = _of(
        1_000.0,
        "Requests with one API key that has no rate of its own, in the long run. Keys with the "
        "scope admin have no limit.",
        ge=0,
        le=RATE_PER_S_MAX,
    )
    key_burst: int = _of(2_000, "The same at once, after a rest.", ge=1)
    author_rate_per_s: float = _of(
        100.0, "New posts of one author, in the long run.", ge=0, le=RATE_PER_S_MAX
    )
    author_burst: int = _of(1_000, "The same at once, after a rest.", ge=1)
    auth_failure_rate_per_s: float = _of(
        1.0,
        "Keys and tokens from one address that are not ours, in the long run; more are slowed "
        "down and answered 429.",
        ge=0,
        le=RATE_PER_S_MAX,
    )
    auth_failure_burst: int = _of(20, "The same at once, after a rest.", ge=1)
    rate_names_max: int = _of(
        50_000, "Users, keys, authors and addresses, of each so many, whose rate is known.", ge=1
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = _of(
        (),
        "Networks of proxies in front of the api and the gateways: what these write into "
        "X-Forwarded-For says whom a request is from. Comma-separated.",
    )

    # Inbox
    inbox_max: int = _of(1_000, "Entries at which an inbox is trimmed.", ge=2)
    inbox_keep: int = _of(800, "Entries an inbox keeps when trimmed.", ge=1)

    # Fan-out
    slice_max: int = _of(500, "Recipients of one slice.", ge=1, le=512)
    fanout_turns_max: int = _of(32, "Authors of one shard that get a slice in one round.", ge=1)
    fanout_events_max: int = _of(
        2_000, "Events of one shard a fan-out worker holds in memory.", ge=1
    )

    # Sending
    request_deadline_s: float = _of(
        15.0, "One attempt: connect, TLS, write, headers and body together.", gt=0
    )
    endpoint_in_flight_max: int = _of(4, "Requests to one endpoint at once.", ge=1)
    endpoint_queue_max: int = _of(
        64, "Deliveries waiting for one endpoint in memory; more go back to the schedule.", ge=1
    )
    host_in_flight_max: int = _of(64, "Requests to one host at once.", ge=1)
    in_flight_max: int = _of(4_096, "Requests of one sender at once.", ge=1)
    held_max: int = _of(20_000, "Deliveries one sender holds in memory.", ge=1)
    idle_connection_s: float = _of(30.0, "How long an unused connection is kept.", gt=0)
    response_bytes_max: int = _of(16 * 1024, "Where reading an answer stops.", ge=1024)
    excerpt_bytes_max: int = _of(256, "How much of an answer the attempt log keeps.", ge=0)
    attempt_log_max: int = _of(200, "Attempts kept for each endpoint.", ge=1)
    retry_schedule_s: Annotated[tuple[float, ...], NoDecode] = _of(
        (5, 30, 120, 600, 3_600, 10_800, 28_800, 86_400),
        "Delay after attempt 1, 2, …; one attempt more than entries. Comma-separated.",
    )
    retry_jitter: float = _of(0.25, "Share of a delay that is added at random at most.", ge=0, le=1)
    retry_after_max_s: float = _of(_DAY_S, "Longest Retry-After that is obeyed.", ge=0)
    defer_s: float = _of(1.0, "How long back-pressure puts a delivery off.", gt=0)
    outcome_batch_max: int = _of(256, "Outcomes written in one call.", ge=1, le=1_024)
    outcome_wait_ms: float = _of(5.0, "How long an outcome waits for company.", ge=0, le=20)
    redeliveries_max: int = _of(
        10_000, "Due retries of one shard in the stream at once; the rest stay scheduled.", ge=1
    )
    dead_letters_max: int = _of(1_000_000, "Dead letters of one shard.", ge=1)
    allow_cidrs: Annotated[tuple[Network, ...], NoDecode] = _of(
        (), "Networks a webhook may reach in spite of the guard. Comma-separated."
    )
    allow_ports: Annotated[tuple[int, ...], NoDecode] = _of(
        (), "Ports under 1024 a webhook may use besides 80 and 443. Comma-separated."
    )
    egress_proxy: str | None = _of(
        None,
        "A proxy that all webhooks go out by: http://[user:password@]host:port, or https://. It is "
        "asked for tunnels (CONNECT) to addresses the guard has judged.",
    )
    egress_proxy_resolves: bool = _of(
        False, "Names are the proxy's to resolve, and their addresses the proxy's to judge."
    )
    ca_file: Path | None = _of(None, "More certificate authorities to trust, a PEM file.")

    # Health of endpoints
    breaker_failures: int = _of(10, "Failures in a row that open an endpoint's breaker.", ge=1)
    breaker_open_s: float = _of(60.0, "How long a breaker stays open before one probe.", gt=0)
    drain_gap_ms: float = _of(20.0, "Gap between parked deliveries set free.", ge=0)
    parked_max: int = _of(
        100_000, "Parked deliveries of one endpoint; the oldest beyond become dead letters.", ge=1
    )
    pause_s: float = _of(
        1.0, "Pause of an endpoint after 429, 502, 503, 504; doubled while they go on.", gt=0
    )
    pause_max_s: float = _of(60.0, "Longest pause without a Retry-After.", gt=0)
    disable_after_s: float = _of(
        5 * _DAY_S, "No success for this long, with failures on enough days: disabled.", gt=0
    )
    disable_days: int = _of(3, "Different days with failures before disabling.", ge=1)
    disabled_probe_s: float = _of(3_600.0, "How often a disabled endpoint is tried.", gt=0)

    # Verification of endpoints
    verify_endpoints: bool = _of(
        False,
        "A new endpoint, and one with another url, has to echo a challenge before it is sent "
        "anything else. Otherwise so are those that an API key with `verify_endpoints` makes.",
    )
    verify_schedule_s: Annotated[tuple[float, ...], NoDecode] = _of(
        (5, 30, 120, 600),
        "Delay after challenge 1, 2, … that was not echoed; then only a call sends one. "
        "Comma-separated.",
    )
    challenges_per_host_max: int = _of(
        10, "Challenges to one host in a minute, from all senders together.", ge=1
    )
    challenges_per_s_max: float = _of(20.0, "Challenges of one sender in a second.", gt=0)

    # Ownership
    lease_s: float = _of(10.0, "Life of a lease; a dead worker's shards wait this long.", ge=0.5)
    changes_max: int = _of(10_000, "Endpoint changes of one shard kept for its sender.", ge=100)

    # Gateway
    sockets_max: int = _of(18_000, "Sockets of one gateway.", ge=1)
    sockets_per_user_max: int = _of(16, "Sockets of one user at one gateway.", ge=1)
    hello_timeout_s: float = _of(
        5.0,
        "From connect to finished handshake, and from there to the token where that is a message.",
        gt=0,
    )
    allow_origins: Annotated[tuple[str, ...], NoDecode] = _of(
        (),
        "Whose pages may open sockets, as browsers name them: https://app.example.com. Any, unless "
        "set. Who sends no Origin is no browser, and gets in. Comma-separated.",
    )
    token_by_message: bool = _of(
        True, "Whether a socket may be opened without a token, which is then its first message."
    )
    tokens_awaited_max: int = _of(
        1_000, "Sockets of one gateway whose token is still to come; the oldest makes room.", ge=1
    )
    ping_s: float = _of(25.0, "Silence after which a socket is pinged.", gt=0)
    pong_timeout_s: float = _of(10.0, "How long a ping may stay unanswered.", gt=0)
    message_bytes_max: int = _of(64 * 1024, "Largest message a client may send.", ge=128)
    unsent_bytes_max: int = _of(
        64 * 1024, "Unsent bytes at which a socket is behind and fed from its inbox.", ge=1024
    )
    slow_timeout_s: float = _of(10.0, "No progress for this long: closed as too slow.", gt=0)
    resume_batch_max: int = _of(500, "Events read from an inbox at once.", ge=1, le=1_000)
    ack_timeout_s: float = _of(30.0, "Explicit ack: unacknowledged this long is pushed again.")
    ack_attempts_max: int = _of(5, "Explicit ack: pushes of one event before closing.", ge=1)
    sockets_backlog_max: int = _of(
        10_000, "Entries in a gateway's stream before it falls back to inboxes.", ge=1
    )
    goodbye_spread_s: float = _of(5.0, "Shutdown: goodbyes are spread over this long.", ge=0)

    # Listening
    host: str = _of("127.0.0.1", "Address the api and the gateway listen on.")
    port: int = _of(8000, "Port of the api.", ge=0, le=65_535)
    gateway_port: int = _of(8001, "Port of the gateway.", ge=0, le=65_535)
    ops_port: int = _of(0, "Port of a worker's health and metrics, 0 for none.", ge=0, le=65_535)
    drain_timeout_s: float = _of(20.0, "Shutdown: how long work in flight may take.", ge=0)
    log_format: LogFormat = _of("auto", "text, json, or text on a terminal and json elsewhere.")
    log_level: Literal["debug", "info", "warning", "error"] = _of("info", "Least level logged.")

    @field_validator("admin_key")
    @classmethod
    def _check_admin_key(cls, value: str | None) -> str | None:
        """Without its first characters it would be taken for a user token, and never let in."""
        if value is None or may_be_api_key(value):
            return value
        raise ValueError(
            "an API key begins with mk_ and goes on with 13 to 509 letters, digits or signs, with "
            'no space: make one with `echo "mk_$(openssl rand -hex 32)"`'
        )

    @field_validator("egress_proxy")
    @classmethod
    def _check_egress_proxy(cls, value: str | None) -> str | None:
        if not value:  # as Compose fills in what is not set
            return None
        parse_proxy(value)
        return value

    @field_validator("socket_url")
    @classmethod
    def _check_socket_url(cls, value: str | None) -> str | None:
        """It goes into a header and into a page."""
        if not value:  # as Compose fills in what is not set
            return None
        if (reason := why_no_socket_url(value)) is not None:
            raise ValueError(reason)
        return value

    @field_validator("token_keys", mode="before")
    @classmethod
    def _read_token_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value.strip() or "{}", object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError):
            # The cause is left out: it may quote what it was given.
            raise ValueError("must be a JSON object with each `kid` once") from None

    @field_validator("token_keys")
    @classmethod
    def _check_token_keys(cls, value: dict[str, str]) -> dict[str, str]:
        if any(
            not 0 < len(kid) <= 64 or len(key) < _TOKEN_SECRET_MIN for kid, key in value.items()
        ):
            raise ValueError(
                f"each `kid` has 1 to 64 characters, each secret {_TOKEN_SECRET_MIN} or more"
            )
        return value

    @field_validator("retry_schedule_s", "verify_schedule_s", mode="before")
    @classmethod
    def _split_numbers(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(float(part) for part in value.split(",") if part.strip())
        return value

    @field_validator("retry_schedule_s", "verify_schedule_s")
    @classmethod
    def _check_schedule(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) > 32 or any(delay < 0 or delay > 7 * _DAY_S for delay in value):
            raise ValueError("at most 32 delays, each from 0 to 604800 seconds")
        return value

    @field_validator("allow_cidrs", "trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value

    @field_validator("allow_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allow_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """What no browser would send would let nobody in."""
        for number, origin in enumerate(value, 1):
            if (reason := why_no_origin(origin)) is not None:
                raise ValueError(f"number {number} {reason}")
        return value

    @field_validator("allow_ports", mode="before")
    @classmethod
    def _split_ports(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(int(part) for part in value.split(",") if part.strip())
        return value

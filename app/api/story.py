"""The calls that the description shows as examples: one story, in an order in which it comes true.

Ann posts, bob is her friend and has an endpoint, whose receiver answers 503 to begin with. What the
service makes up (ids, secrets, times) is always the same here and another each time there: whoever
plays the story puts the one in the place of the other, and the address of a receiver of their own
in the place of `ENDPOINT["url"]`. `tests/api/test_story.py` plays it, against the real service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app import __version__
from app.api.problems import (
    CONFLICT,
    INVALID,
    NOT_FOUND,
    NOT_READY,
    TOO_MANY_POSTS,
    UNAUTHENTICATED,
    Kind,
)
from app.api.schemas.access import MadeKey, NewKey, Token
from app.api.schemas.examples import (
    ATTEMPT,
    CHALLENGE,
    COUNTS,
    DATA,
    DELIVERY,
    DELIVERY_ID,
    ENDPOINT,
    ENDPOINT_ID,
    EPOCH,
    ITEM,
    KEY,
    KEY_ID,
    POST,
    POST_ID,
    POSTED_AT,
    SECRET,
    SENT_AT,
    SOCKET_DELIVERY,
    VERIFICATION,
    example_of,
)
from app.api.schemas.operations import Stats

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Step:
    """One call and its answer. `path`, `query` and `headers` are given by name, `body` is JSON, or
    a list of the lines of an import. Without `has_key` the caller says not who they are."""

    operation: str
    title: str
    status: int
    answer: Any = None
    path: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Any = None
    has_key: bool = True

    @property
    def name(self) -> str:
        """As the description names it."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


def _problem(kind: Kind, detail: str, **members: Any) -> dict[str, Any]:
    found = {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": detail}
    return {**found, **members}


def _page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "next": None}


# The key of the settings, which is there from the start.
ADMIN: Final = {
    "id": "a81c03e9f5d7",
    "hint": "mk_Qz7dW",
    "name": "admin",
    "scopes": ["admin"],
    "verify_endpoints": False,
    "created_at": POSTED_AT,
}
# A key for those who let their customers register endpoints.
CUSTOMERS: Final = {
    "id": "5b7e20d4c91f",
    "hint": "mk_V9nXb",
    "name": "customers",
    "scopes": ["admin"],
    "verify_endpoints": True,
    "created_at": POSTED_AT,
    "key": "mk_V9nXbE2rLw0sJk5hTqYd8uGiPoZaMc1vNf4B7xR3QmA",
}
OTHER_ENDPOINT_ID: Final = "x30q9m6d05"
_AT: Final = {"endpoint": ENDPOINT_ID}
_OF: Final = {"post": POST_ID}
_BOB: Final = {"user": "bob"}
_PAIR: Final = {"user": "bob", "other": "ann"}
_FOLLOW: Final = {"user": "cyd", "other": "ann"}
_BLOCK: Final = {"user": "dan", "other": "ann"}
_POSTED: Final = {**POST, "updated_at": POSTED_AT}
_HEAD: Final = {name: _POSTED[name] for name in _POSTED if name != "data"}
_EDITED: Final = {**_POSTED, "version": 2, "data": {"text": "Down again"}}
_FAILED: Final = {
    **ENDPOINT,
    "consecutive_failures": 1,
    "first_failure_at": SENT_AT,
    "headers": {},
    "description": None,
}
_NEW: Final = {**ENDPOINT, "headers": {}, "description": None}
_UNVERIFIED: Final = {
    **_NEW,
    "id": OTHER_ENDPOINT_ID,
    "user": "cyd",
    "state": "unverified",
}
_CHANGED: Final = {**_FAILED, "types": ["*"]}
_WELL: Final = {**_CHANGED, "consecutive_failures": 0, "first_failure_at": None}
_STORE: Final = {"ok": True, "detail": "the store answers"}
_NO_SCHEME: Final = "The scheme 'ftp' is not supported: use https or http."
_TOO_MANY: Final = "ann may send 100 posts a second, 1,000 at once."
_NO_CANARY: Final = "no canary has come through the streams: is a worker there?"
_ARRIVED: Final = {
    **ATTEMPT,
    "attempt": 2,
    "status": 200,
    "error": None,
    "response": "",
}
_PINGED: Final = {**_ARRIVED, "delivery": "ping-6f1d0b9a7c3e5824", "attempt": 1}
_UNDER_WAY: Final = {name: DELIVERY[name] for name in DELIVERY if name != "next_attempt_at"}
_DELIVERED: Final = {
    **{name: _UNDER_WAY[name] for name in _UNDER_WAY if name != "last_error"},
    "state": "delivered",
    "attempts": 2,
    "last_status": 200,
}

STORY: Final = (
    Step("operations_health", "The process lives", 200, {"status": "ok", "version": __version__}),
    Step(
        "operations_ready",
        "No worker yet",
        503,
        _problem(
            NOT_READY,
            _NO_CANARY,
            ready=False,
            checks={"store": _STORE, "canary": {"ok": False, "detail": _NO_CANARY}},
        ),
        has_key=False,
    ),
    Step(
        "posts_accept",
        "Without a key",
        401,
        _problem(UNAUTHENTICATED, "Send `Authorization: Bearer <key or token>`."),
        body={"author": "ann", "data": DATA},
        has_key=False,
    ),
    # Who may call.
    Step(
        "keys_create",
        "A key for one program",
        201,
        example_of(MadeKey)[0],
        body=example_of(NewKey)[0],
    ),
    Step("keys_every", "All keys", 200, _page(ADMIN, KEY), query={"limit": 50}),
    Step("keys_revoke", "That key ends", 204, path={"key": KEY_ID}),
    Step(
        "tokens_create",
        "A token for an hour",
        201,
        example_of(Token)[0],
        path=_BOB,
        body={"ttl_s": 3_600},
    ),
    # Who is whose friend.
    Step("graph_befriend", "Bob and ann are friends", 204, path=_PAIR),
    Step("graph_friends", "Bob's friends", 200, _page("ann"), path=_BOB),
    Step("graph_follow", "Cyd follows ann", 204, path=_FOLLOW),
    Step("graph_follows", "Whom cyd follows", 200, _page("ann"), path={"user": "cyd"}),
    Step("graph_followers", "Who follows ann", 200, _page("cyd"), path={"user": "ann"}),
    Step("graph_unfollow", "Cyd follows ann no more", 204, path=_FOLLOW),
    Step("graph_block", "Dan blocks ann", 204, path=_BLOCK),
    Step("graph_blocks", "Whom dan blocks", 200, _page("ann"), path={"user": "dan"}),
    Step("graph_unblock", "Dan blocks ann no more", 204, path=_BLOCK),
    Step(
        "graph_load",
        "Two edges, and a line that is none",
        200,
        {
            "created": 2,
            "lines": 3,
            "errors": [{"line": 3, "message": "b: must be somebody else"}],
            "errors_omitted": 0,
        },
        body=[
            {"kind": "friend", "a": "eve", "b": "fay"},
            {"kind": "follow", "a": "gus", "b": "eve"},
            {"kind": "friend", "a": "eve", "b": "eve"},
        ],
    ),
    Step(
        "graph_unfriend",
        "Eve and fay are friends no more",
        204,
        path={"user": "eve", "other": "fay"},
    ),
    # Where bob's events go.
    Step(
        "endpoints_create",
        "Where bob listens",
        201,
        {**_NEW, "secret": SECRET},
        body={"user": "bob", "url": ENDPOINT["url"]},
    ),
    Step(
        "endpoints_create",
        "A url that is none",
        422,
        _problem(
            INVALID,
            f"url: {_NO_SCHEME}",
            errors=[{"field": "url", "message": _NO_SCHEME}],
        ),
        body={"user": "bob", "url": "ftp://hooks.example.com/bob"},
    ),
    Step("endpoints_of_user", "Bob's endpoints", 200, _page(_NEW), path=_BOB),
    Step(
        "operations_ready",
        "All is well",
        200,
        {
            "ready": True,
            "checks": {
                "store": _STORE,
                "canary": {"ok": True, "detail": "a canary of 0.3 s ago came through the streams"},
            },
        },
    ),
    # Ann posts; bob's receiver answers 503.
    Step(
        "posts_accept",
        "To all friends",
        202,
        _POSTED,
        body={"author": "ann", "data": DATA},
        headers={"Idempotency-Key": "7c1f0a52"},
    ),
    Step(
        "posts_accept",
        "More than an author may",
        429,
        _problem(TOO_MANY_POSTS, _TOO_MANY),
        body={"author": "ann", "data": DATA},
    ),
    Step("posts_read", "The post", 200, _POSTED, path=_OF),
    Step("posts_newest", "The newest posts", 200, _page(_HEAD)),
    Step(
        "deliveries_of_post",
        "Where it is now",
        200,
        {
            "counts": COUNTS,
            "fanned_out": True,
            "items": [SOCKET_DELIVERY, DELIVERY],
            "next": None,
        },
        path=_OF,
    ),
    Step(
        "deliveries_of_post",
        "Only what is to be sent again",
        200,
        {"counts": COUNTS, "fanned_out": True, "items": [DELIVERY], "next": None},
        path=_OF,
        query={"state": "retrying", "channel": "webhook"},
    ),
    Step(
        "deliveries_read",
        "One delivery",
        200,
        {**DELIVERY, "log": [ATTEMPT]},
        path={"delivery": DELIVERY_ID},
    ),
    Step("endpoints_attempts", "What was tried", 200, _page(ATTEMPT), path=_AT, query={"limit": 1}),
    Step("endpoints_read", "An endpoint that failed once", 200, _FAILED, path=_AT),
    Step(
        "endpoints_change",
        "Other types",
        200,
        _CHANGED,
        path=_AT,
        body={"types": ["*"], "rate_per_s": None},
    ),
    Step("endpoints_enable", "With a clean record", 200, _WELL, path=_AT),
    Step("endpoints_ping", "A ping", 200, _PINGED, path=_AT),
    Step(
        "endpoints_verify",
        "An endpoint that needs no verification",
        409,
        _problem(CONFLICT, "This endpoint has no challenge to echo: it is sent to already."),
        path=_AT,
    ),
    Step(
        "deliveries_retry",
        "Now",
        202,
        {**_UNDER_WAY, "log": [ATTEMPT]},
        path={"delivery": DELIVERY_ID},
    ),
    Step(
        "deliveries_read",
        "The same, once it has arrived",
        200,
        {**_DELIVERED, "log": [ATTEMPT, _ARRIVED]},
        path={"delivery": DELIVERY_ID},
    ),
    # An address that has to be proved.
    Step(
        "keys_create",
        "A key whose endpoints have to be verified",
        201,
        CUSTOMERS,
        body=example_of(NewKey)[1],
    ),
    Step(
        "endpoints_create",
        "With that key",
        201,
        {
            **_UNVERIFIED,
            "verification": {"challenges": 0, "last_error": None, "next_at": None},
            "secret": SECRET,
        },
        headers={"Authorization": f"Bearer {CUSTOMERS['key']}"},
        body={"user": "cyd", "url": ENDPOINT["url"]},
    ),
    Step(
        "endpoints_read",
        "An endpoint that did not echo",
        200,
        {**_UNVERIFIED, "verification": VERIFICATION},
        path={"endpoint": OTHER_ENDPOINT_ID},
    ),
    Step(
        "endpoints_verify",
        "Another challenge, which is echoed",
        200,
        {
            **_ARRIVED,
            "delivery": "verify-5b0d7f3ac1e94826",
            "response": f'{{"challenge": "{CHALLENGE}"}}',
        },
        path={"endpoint": OTHER_ENDPOINT_ID},
    ),
    Step("deliveries_dead", "No dead letters", 200, _page()),
    Step(
        "deliveries_replay",
        "Of one endpoint, since then",
        202,
        {"scheduled": 0},
        body={"endpoint": ENDPOINT_ID, "since": POSTED_AT},
    ),
    Step(
        "endpoints_recover",
        "All that was not delivered",
        202,
        {"scheduled": 0},
        path=_AT,
        body={"since": POSTED_AT, "until": "2026-01-31T14:00:00Z"},
    ),
    Step(
        "endpoints_rotate",
        "Another secret, the old one for a day",
        200,
        {**_WELL, "last_success_at": SENT_AT, "secret": SECRET},
        path=_AT,
        body={"overlap_s": 86_400},
    ),
    # What bob finds in the feed.
    Step(
        "feed_read",
        "From the start",
        200,
        {"epoch": EPOCH, "items": [ITEM], "next_offset": 1, "head_offset": 1, "cursor": 0},
        path=_BOB,
        query={"after": 0, "limit": 50},
    ),
    Step(
        "feed_move_cursor",
        "Dealt with",
        200,
        {"cursor": 1, "head_offset": 1, "unread": 0},
        path=_BOB,
        body={"offset": 1},
    ),
    # Ann thinks again.
    Step(
        "posts_edit",
        "Other data",
        202,
        _EDITED,
        path=_OF,
        body={"data": {"text": "Down again"}},
    ),
    Step(
        "posts_delete",
        "Taken back",
        202,
        {**_EDITED, "version": 3, "deleted": True, "data": None},
        path=_OF,
    ),
    Step("endpoints_delete", "Nothing more is sent there", 204, path=_AT),
    Step(
        "endpoints_read",
        "An endpoint that is gone",
        404,
        _problem(NOT_FOUND, "There is no such endpoint, or it is no longer kept."),
        path=_AT,
    ),
    Step("operations_stats", "The whole service", 200, example_of(Stats)[0]),
)


def told_of(operation: str) -> tuple[Step, ...]:
    """The steps that call an operation."""
    return tuple(step for step in STORY if step.operation == operation)

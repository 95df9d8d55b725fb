"""What a call's answer leads to: the links of the API's description, by operation id.

https://spec.openapis.org/oas/v3.1.1.html#link-object
"""

from collections.abc import Mapping
from typing import Any, Final

_USER: Final = {"user": "$request.path.user"}
_BACK: Final = {"user": "$request.path.other", "other": "$request.path.user"}
_BOTH: Final = {**_USER, "other": "$request.path.other"}
_NEXT: Final = {"after": "$response.body#/next"}

Target = tuple[str, Mapping[str, str]]  # an operation, and where its parameters come from


def _each(operations: str, **parameters: str) -> tuple[Target, ...]:
    return tuple((operation, parameters) for operation in operations.split())


_POST: Final = _each(
    "posts_read posts_edit posts_delete deliveries_of_post", post="$response.body#/id"
)
_ENDPOINT: Final = _each(
    "endpoints_read endpoints_change endpoints_rotate endpoints_ping endpoints_enable "
    "endpoints_verify endpoints_recover endpoints_attempts endpoints_delete",
    endpoint="$response.body#/id",
)

_LINKS: Final[Mapping[str, tuple[Target, ...]]] = {
    "posts_accept": (*_POST, *_each("feed_read", user="$response.body#/author")),
    "posts_newest": (
        *_each("posts_read deliveries_of_post", post="$response.body#/items/0/id"),
        ("posts_newest", _NEXT),
    ),
    "posts_read": _POST,
    "posts_edit": _POST,
    "posts_delete": _each("posts_read deliveries_of_post", post="$response.body#/id"),
    "deliveries_of_post": (
        *_each("deliveries_read deliveries_retry", delivery="$response.body#/items/0/id"),
        ("deliveries_of_post", {"post": "$request.path.post", **_NEXT}),
    ),
    "deliveries_read": (
        *_each("deliveries_retry", delivery="$response.body#/id"),
        *_each("posts_read", post="$response.body#/post"),
        *_each("feed_read", user="$response.body#/recipient"),
    ),
    "deliveries_retry": _each("deliveries_read", delivery="$response.body#/id"),
    "deliveries_dead": (
        *_each("deliveries_read deliveries_retry", delivery="$response.body#/items/0/id"),
        ("deliveries_dead", _NEXT),
    ),
    "endpoints_create": (*_ENDPOINT, *_each("endpoints_of_user", user="$response.body#/user")),
    "endpoints_of_user": (
        *_each("endpoints_read endpoints_attempts", endpoint="$response.body#/items/0/id"),
        ("endpoints_of_user", {**_USER, **_NEXT}),
    ),
    "endpoints_read": _ENDPOINT,
    "endpoints_ping": _each("endpoints_read", endpoint="$request.path.endpoint"),
    "endpoints_attempts": (
        *_each("deliveries_read", delivery="$response.body#/items/0/delivery"),
        ("endpoints_attempts", {"endpoint": "$request.path.endpoint", **_NEXT}),
    ),
    "endpoints_delete": _each(
        "endpoints_read endpoints_change endpoints_ping endpoints_attempts",
        endpoint="$request.path.endpoint",
    ),
    "feed_read": (
        *_each("posts_read deliveries_of_post", post="$response.body#/items/0/post/id"),
        ("feed_read", {**_USER, "after": "$response.body#/next_offset"}),
        ("feed_move_cursor", _USER),
    ),
    "feed_move_cursor": (("feed_read", _USER),),
    "graph_befriend": (
        ("graph_friends", _USER),
        ("graph_friends", {"user": "$request.path.other"}),
        ("graph_unfriend", _BACK),
    ),
    "graph_follow": (
        ("graph_follows", _USER),
        ("graph_followers", {"user": "$request.path.other"}),
        ("graph_unfollow", _BOTH),
    ),
    "graph_block": (("graph_blocks", _USER), ("graph_unblock", _BOTH)),
    "graph_friends": (("graph_friends", {**_USER, **_NEXT}),),
    "graph_follows": (("graph_follows", {**_USER, **_NEXT}),),
    "graph_followers": (("graph_followers", {**_USER, **_NEXT}),),
    "graph_blocks": (("graph_blocks", {**_USER, **_NEXT}),),
    "keys_create": _each("keys_revoke", key="$response.body#/id"),
    "keys_every": (("keys_every", _NEXT),),
}


def links_from(operation: str) -> dict[str, Any]:
    """The links of the answer to an operation, by name. Each is named after where it leads, with
    a number where two lead there."""
    links: dict[str, Any] = {}
    for target, parameters in _LINKS.get(operation, ()):
        name = target if target not in links else f"{target}_2"
        links[name] = {"operationId": target, "parameters": dict(parameters)}
    return links

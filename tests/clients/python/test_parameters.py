"""Whatever a call takes, in its body or its query, its method takes too, and nothing else."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from app.api.app import ALL_CALLS
from app.api.openapi import document
from moments_client.access import Keys, Tokens
from moments_client.deliveries import Deliveries
from moments_client.endpoints import EndpointChange, EndpointOptions, Endpoints
from moments_client.feed import Feed
from moments_client.graph import Edge, Graph
from moments_client.posts import Posts

DOCUMENT = document(ALL_CALLS)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
Method = Callable[..., Any]


def parameters(method: Method, *options: type) -> set[str]:
    """What is given to a method by name, with the keys of what it unpacks."""
    named = [
        name
        for name, one in inspect.signature(method).parameters.items()
        if name != "self" and one.kind is not one.VAR_KEYWORD
    ]
    return {*named, *(key for one in options for key in one.__annotations__)}


def keys(type_: type) -> set[str]:
    return {key for one in type_.__mro__ for key in getattr(one, "__annotations__", {})}


# What the body of a call can hold, as the schema's name, and what the method takes of it.
BODIES = {
    "NewPost": parameters(Posts.create) - {"only", "excepted", "idempotency_key"} | {"audience"},
    "PostEdit": parameters(Posts.edit) - {"post"},
    "NewEndpoint": parameters(Endpoints.create) | keys(EndpointOptions),
    "EndpointChange": {"url"} | keys(EndpointOptions),
    "Rotation": parameters(Endpoints.rotate_secret) - {"endpoint"},
    "Recovery": parameters(Endpoints.recover) - {"endpoint"},
    "Replay": parameters(Deliveries.replay),
    "CursorMove": parameters(Feed.move_cursor) - {"user"},
    "NewToken": parameters(Tokens.create) - {"user"},
    "NewKey": parameters(Keys.create),
    "Edge": set(Edge._fields),
}
# What the query of a call can hold, without the position that a listing keeps by itself.
QUERIES: dict[str, set[str]] = {
    "posts_newest": parameters(Posts.newest),
    "deliveries_of_post": parameters(Deliveries.of_post) - {"post"},
    "deliveries_dead": parameters(Deliveries.dead_letters),
    "endpoints_attempts": parameters(Endpoints.attempts) - {"endpoint"},
    "endpoints_of_user": parameters(Endpoints.of_user) - {"user"},
    "graph_friends": parameters(Graph.friends) - {"user"},
    "graph_follows": parameters(Graph.follows) - {"user"},
    "graph_followers": parameters(Graph.followers) - {"user"},
    "graph_blocks": parameters(Graph.blocks) - {"user"},
    "keys_every": parameters(Keys.every),
    "feed_read": parameters(Feed.read) - {"user", "after"},
}


def described() -> tuple[set[str], dict[str, set[str]]]:
    """The schemas of all bodies, and the queries of the calls that have one."""
    bodies: set[str] = set()
    queries: dict[str, set[str]] = {}
    for operation in (one for path in DOCUMENT["paths"].values() for one in path.values()):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            bodies.add(content["schema"]["$ref"].rpartition("/")[2])
        query = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
        if query:
            queries[operation["operationId"]] = query - {"after"}
    return bodies, queries


def test_every_body_and_query_is_looked_at():
    bodies, queries = described()
    assert bodies == set(BODIES)
    assert set(queries) == set(QUERIES)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_can_be_given_whole(name: str):
    assert BODIES[name] == set(SCHEMAS[name]["properties"])


@pytest.mark.parametrize("operation", QUERIES)
def test_a_query_can_be_given_whole(operation: str):
    assert QUERIES[operation] == described()[1][operation]


def test_what_can_be_changed_of_an_endpoint_is_typed():
    assert keys(EndpointChange) == set(SCHEMAS["EndpointChange"]["properties"])


def test_an_audience_is_given_by_its_parts():
    assert {"only", "excepted"} <= parameters(Posts.create)
    assert set(SCHEMAS["Audience"]["properties"]) == {"only", "except"}

"""An API whose store holds one of everything, and a good request for each of its calls."""

import json
import re
from dataclasses import dataclass
from typing import Any

from app.api.call import Call
from app.api.lines import Lines
from app.api.schemas.fields import Nothing
from app.clock import now_ms
from app.domain.delivery import State
from app.domain.ids import shard_of_id
from app.domain.post import Event, EventKind
from app.store import keys
from tests.api.conftest import Api, fan_out
from tests.api.description import DOCUMENT
from tests.api.ledgered import log_attempt, make_endpoint, post_to, settle

URL = "https://public.example/"
LINE = b'{"kind": "friend", "a": "ann", "b": "dan"}'


@dataclass(frozen=True)
class World:
    """An API, and the ids of what there is: what is asked for is there."""

    api: Api
    ids: dict[str, str]

    def url(self, call: Call, **parameters: str) -> str:
        ids = {**self.ids, **parameters}
        return re.sub(r"{(\w+)}", lambda match: ids[match[1]], call.path)


async def make_world(api: Api) -> World:
    endpoint = (await api.admin.post("/v1/endpoints", json={"user": "bob", "url": URL})).json()
    post = (await api.publish())["id"]
    store = api.services.store
    await fan_out(store, Event(post, 1, EventKind.CREATED), ["bob"])
    await api.admin.put("/v1/users/bob/friends/cyd")
    shard = shard_of_id(endpoint["id"])
    await store.execute("SET", keys.lease(shard, keys.SENDER), "worker.token")
    delivery = f"{post}-1-0-{endpoint['id']}"
    await store.execute("ZADD", keys.dead(shard), now_ms(), delivery)
    listed = (await api.admin.get("/v1/keys")).json()["items"]
    key = next(key["id"] for key in listed if key["name"] == "read")
    ids = {"post": post, "endpoint": endpoint["id"], "delivery": delivery, "key": key}
    return World(api, {"user": "bob", "other": "cyd", **ids})


async def make_many(api: Api) -> World:
    """Several of everything that there are lists of, all of it of ann or to her."""
    friends = ("a.b", "a:b", "bo")
    kinds = [("friend", "ann", "{}"), ("follow", "ann", "{}"), ("follow", "{}", "ann")]
    edges = [
        {"kind": kind, "a": a.format(friend), "b": b.format(friend)}
        for friend in friends
        for kind, a, b in (*kinds, ("block", "ann", "{}"))
    ]
    lines = "\n".join(map(json.dumps, edges))
    assert (await api.admin.post("/v1/graph:import", content=lines)).json()["errors"] == []
    endpoints = [await make_endpoint(api, "ann") for _ in range(3)]
    for attempt in range(1, 7):
        post = await post_to(api, "ann", *friends)
        delivery = await settle(api, post, endpoints[0], State.DEAD)
        await log_attempt(api, delivery, attempt, failed=True)
    keys_ = (await api.admin.get("/v1/keys")).json()["items"]
    key = next(key["id"] for key in keys_ if key["name"] == "read")
    ids = {"post": post, "endpoint": endpoints[0], "delivery": delivery, "key": key}
    return World(api, {"user": "ann", "other": "bo", **ids})


def good_body(call: Call) -> dict[str, Any]:
    """The body of the description's first example, with an address that tests know."""
    body = DOCUMENT["components"]["schemas"][call.body.__name__]["examples"][0]
    return {**body, "url": URL} if "url" in body else body


def good_request(call: Call) -> dict[str, Any]:
    """What a client needs beside method and URL for a request that is taken."""
    if call.body is Lines:
        return {"content": LINE}
    return {} if call.body is Nothing else {"json": good_body(call)}

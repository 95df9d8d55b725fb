"""One wide line for a post, one for its fan-out, one for each attempt."""

import json
import logging
from typing import Any

import pytest

from app.log import JsonLines
from tests.flows.service import Service
from tests.receivers import Receiver, status
from tests.wait import wait_until


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The fields of the lines of an event, as production writes them."""
    made = [json.loads(JsonLines("test").format(one)) for one in caplog.records]
    common = {"at", "logger", "event", "role"}
    return [
        {name: value for name, value in line.items() if name not in common}
        for line in made
        if line["event"] == event
    ]


async def test_a_post_is_told_when_it_is_accepted_and_when_it_is_fanned_out(
    service: Service, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    await service.befriend(("ann", "bob"), ("ann", "eve"))
    body = {"author": "ann", "data": {"text": "hi"}, "audience": {"except": ["eve"]}}
    post = await service.call(
        "POST", "/posts", body, **{"idempotency-key": "k", "x-request-id": "r-7"}
    )
    await wait_until(lambda: lines(caplog, "fanned out"))
    [accepted], [fanned_out] = lines(caplog, "post accepted"), lines(caplog, "fanned out")
    assert accepted.pop("duration_ms") > 0
    assert accepted == {
        **{"level": "info", "post": post["id"], "version": 1, "author": "ann", "type": "post"},
        **{"bytes": len('{"text":"hi"}'), "audience": "except 1", "idempotent": True},
        **{"replayed": False, "request_id": "r-7"},
    }
    assert fanned_out.pop("lag_ms") >= 0
    assert fanned_out.pop("shard") >= 0
    assert fanned_out == {
        **{"level": "info", "post": post["id"], "version": 1, "kind": "created"},
        **{"author": "ann", "recipients": 1, "webhooks": 0, "sockets": 0, "slices": 1},
    }
    await service.call("PATCH", f"/posts/{post['id']}", {"data": {}}, **{"x-request-id": "a\tb"})
    await service.call("DELETE", f"/posts/{post['id']}")
    [edited], [deleted] = lines(caplog, "edit accepted"), lines(caplog, "deletion accepted")
    assert (edited["version"], deleted["version"]) == (2, 3)
    assert "request_id" not in edited


async def test_every_attempt_is_told_a_success_only_to_who_wants_to_know(
    service: Service, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    await service.befriend(("ann", "bob"))
    endpoint = await service.register("bob", receiver.url)
    receiver.script.extend([status(500), status(500)])
    caplog.set_level(logging.DEBUG, "workers.attempts")
    post = await service.post("ann")
    delivery = await service.settled(post["id"], "bob", "delivered")
    failed, [succeeded] = lines(caplog, "attempt failed"), lines(caplog, "attempt")
    assert [line["attempt"] for line in failed] == [1, 2]
    assert [line["reused"] for line in (*failed, succeeded)] == [False, True, True]
    first = failed[0]
    assert first.pop("duration_ms") > 0
    assert first.pop("next_attempt_at").endswith("Z")
    assert first == {
        **{"level": "info", "delivery": delivery["id"], "attempt": 1},
        **{"endpoint": endpoint["id"], "status": 500, "error_class": "http_5xx", "reused": False},
    }
    assert (succeeded["level"], succeeded["status"]) == ("debug", 200)
    assert succeeded["error_class"] is None
    assert "next_attempt_at" not in succeeded
    caplog.clear()
    caplog.set_level(logging.INFO, "workers.attempts")
    second = await service.post("ann")
    await service.settled(second["id"], "bob", "delivered")
    assert lines(caplog, "attempt") == []

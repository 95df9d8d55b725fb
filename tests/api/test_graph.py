import asyncio
import itertools
import json
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from app.api.graph import BATCH, ERRORS_MAX
from app.api.lines import Lines, LineSplitter
from app.api.services import Limits, Services
from app.errors import StoreUnavailable
from tests.api.conftest import Api, make_services, serve


def edges(*rows: tuple[str, str, str]) -> bytes:
    return b"".join(
        json.dumps({"kind": kind, "a": a, "b": b}).encode() + b"\n" for kind, a, b in rows
    )


async def list_of(api: Api, user: str, side: str) -> list[str]:
    return (await api.admin.get(f"/v1/users/{user}/{side}")).json()["items"]


async def test_friends_are_mutual(api: Api):
    assert (await api.admin.put("/v1/users/ann/friends/bob")).status_code == 204
    assert await list_of(api, "ann", "friends") == ["bob"]
    assert await list_of(api, "bob", "friends") == ["ann"]
    assert (await api.admin.put("/v1/users/ann/friends/bob")).status_code == 204
    assert (await api.admin.delete("/v1/users/bob/friends/ann")).status_code == 204
    assert await list_of(api, "ann", "friends") == []
    assert (await api.admin.delete("/v1/users/bob/friends/ann")).status_code == 204


async def test_follows_go_one_way(api: Api):
    await api.admin.put("/v1/users/ann/follows/bob")
    assert await list_of(api, "ann", "follows") == ["bob"]
    assert await list_of(api, "bob", "followers") == ["ann"]
    assert await list_of(api, "bob", "follows") == []
    await api.admin.delete("/v1/users/ann/follows/bob")
    assert await list_of(api, "bob", "followers") == []


async def test_blocks_are_listed_for_who_blocks(api: Api):
    await api.admin.put("/v1/users/ann/blocks/bob")
    assert await list_of(api, "ann", "blocks") == ["bob"]
    assert await list_of(api, "bob", "blocks") == []
    await api.admin.delete("/v1/users/ann/blocks/bob")
    assert await list_of(api, "ann", "blocks") == []


async def test_user_ids_may_look_like_addresses_and_names_of_things(api: Api):
    for user in ("a:b", "ann@example.com", "urn:x:1", "a.b-c_d", ":"):
        assert (await api.admin.put(f"/v1/users/{user}/follows/bob")).status_code == 204
        assert await list_of(api, user, "follows") == ["bob"]


@pytest.mark.parametrize("kind", ["friends", "follows", "blocks"])
async def test_a_full_list_is_a_conflict(api: Api, kind: str):
    others = ["u1", "u2", "u3"]
    for other in others:
        assert (await api.admin.put(f"/v1/users/ann/{kind}/{other}")).status_code == 204
    answer = await api.admin.put(f"/v1/users/ann/{kind}/u4")
    assert answer.status_code == 409
    assert api.services.stats.refusals.by_kind == {"limit-reached": 1}
    assert await list_of(api, "ann", kind) == others
    assert await list_of(api, "u4", "friends") == []


async def test_lists_come_in_pages(api: Api):
    users = sorted(f"u{n}" for n in range(7))
    for user in users:
        await api.admin.put(f"/v1/users/{user}/follows/ann")
    found, after = [], None
    while True:
        params = {"limit": 3} if after is None else {"limit": 3, "after": after}
        page = (await api.admin.get("/v1/users/ann/followers", params=params)).json()
        found.append(page["items"])
        after = page["next"]
        if after is None:
            break
    assert [len(items) for items in found] == [3, 3, 1]
    assert [user for items in found for user in items] == users


async def test_an_import_takes_edges_of_every_kind(api: Api):
    lines = edges(("friend", "a", "b"), ("follow", "a", "c"), ("block", "d", "a"))
    answer = await api.admin.post("/v1/graph:import", content=lines + lines)
    assert answer.json() == {"created": 3, "lines": 6, "errors": [], "errors_omitted": 0}
    assert await list_of(api, "b", "friends") == ["a"]
    assert await list_of(api, "c", "followers") == ["a"]
    assert await list_of(api, "d", "blocks") == ["a"]


async def test_a_bad_line_is_reported_by_its_number_and_stops_no_other(api: Api):
    good = edges(("friend", "a", "b")).strip()
    rows = [
        good,
        b"",
        b"{",
        b'{"kind": "friend", "a": "a b", "b": "c"}',
        b'{"kind": "enemy", "a": "a", "b": "c"}',
        b'{"kind": "friend", "a": "a"}',
        b'{"kind": "friend", "a": "a", "b": "c", "c": 1}',
        b'{"kind": "friend", "a": "a", "b": "a"}',
        b'{"kind": "friend", "a": "\xff", "b": "c"}',
        b"[]",
        b"x" * 5_000,
        b"   ",
        b"[" * 4_000,
        b'{"kind": "follow", "a": "a", "b": "c"}\r',
    ]
    answer = (await api.admin.post("/v1/graph:import", content=b"\n".join(rows))).json()
    assert answer["created"] == 2
    assert answer["lines"] == 12
    assert [error["line"] for error in answer["errors"]] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    messages = {error["line"]: error["message"] for error in answer["errors"]}
    assert messages[4].startswith("a:")
    assert messages[6].startswith("b:")
    assert messages[7].startswith("c:")
    assert "UTF-8" in messages[9]
    assert messages[10] == "must be a JSON object"
    assert "long" in messages[11]


async def test_an_edge_too_many_is_an_error_of_its_line(api: Api):
    lines = edges(*(("friend", "a", f"u{n}") for n in range(5)))
    answer = (await api.admin.post("/v1/graph:import", content=lines)).json()
    assert answer["created"] == 3
    assert [error["line"] for error in answer["errors"]] == [4, 5]


async def test_an_import_reports_a_bounded_number_of_errors(single_api: Api):
    async def body() -> AsyncIterator[bytes]:
        for n in range(600):
            chunk = edges(*(("follow", f"u{n}", f"v{m}") for m in range(6)))
            yield chunk[:100]
            yield chunk[100:]

    answer = (await single_api.admin.post("/v1/graph:import", content=body())).json()
    assert answer["created"] == 600 * 3  # three follows each, that is the limit here
    assert answer["lines"] == 600 * 6
    assert len(answer["errors"]) == ERRORS_MAX
    assert answer["errors_omitted"] == 600 * 3 - ERRORS_MAX


async def test_lines_of_any_number_and_length_are_read_in_bounded_memory():
    line = json.dumps({"kind": "follow", "a": "ann", "b": "bob"}).encode() + b"\n"
    chunks = itertools.chain(
        itertools.repeat(line * 1_000, 20),  # a megabyte in lines
        itertools.repeat(b"x" * 65_536, 40),  # a line of 2.6 MB
        [b"\n" + line],
    )
    sizes: list[int] = []

    async def receive() -> dict[str, object]:
        sizes.append(tracemalloc.get_traced_memory()[0])
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    lines = Lines(receive, line_bytes_max=4_096, timeout_s=5)
    tracemalloc.start()
    try:
        batches = [len(batch) async for batch in lines.batches(BATCH)]
    finally:
        tracemalloc.stop()
    assert sum(batches) == 20_002
    assert max(batches) == BATCH
    assert max(sizes) - min(sizes) < 400_000


async def test_the_body_of_an_import_is_read_only_as_fast_as_it_is_taken_in(
    single_api: Api, monkeypatch: pytest.MonkeyPatch
):
    graph = single_api.services.graph
    add_many, log = graph.add_many, []

    async def noted(batch):
        log.append("in")
        return await add_many(batch)

    async def body() -> AsyncIterator[bytes]:
        for n in range(3):
            log.append("read")
            yield edges(*(("follow", f"u{n}-{m}", "ann") for m in range(BATCH)))

    monkeypatch.setattr(graph, "add_many", noted)
    await single_api.admin.post("/v1/graph:import", content=body())
    assert log == ["read", "in"] * 3


async def test_an_import_larger_than_other_bodies_is_taken(single_store):
    limits = Limits(body_bytes_max=1_024)
    async with serve(make_services(single_store, limits=limits)) as api:
        lines = edges(*(("follow", f"u{n}", "ann") for n in range(200)))
        assert len(lines) > 1_024
        answer = await api.admin.post("/v1/graph:import", content=lines)
    assert answer.json()["created"] == 200


async def test_an_import_that_breaks_off_says_how_far_it_came(
    single_api: Api, monkeypatch: pytest.MonkeyPatch
):
    graph = single_api.services.graph
    add_many, calls = graph.add_many, []

    async def sometimes(batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise StoreUnavailable("away")
        return await add_many(batch)

    monkeypatch.setattr(graph, "add_many", sometimes)
    lines = edges(*(("follow", f"u{n}", "ann") for n in range(700)))
    answer = await single_api.admin.post("/v1/graph:import", content=lines)
    assert answer.status_code == 503
    assert (answer.json()["created"], answer.json()["lines_done"]) == (500, 500)
    assert calls == [500, 200]


async def test_an_import_that_stalls_is_given_up(single_store):
    limits = Limits(body_timeout_s=0.05)
    sent = []

    async def receive():
        if not sent:
            sent.append(1)
            return {"type": "http.request", "body": edges(("friend", "a", "b")), "more_body": True}
        await forever()

    answer = await _call(make_services(single_store, limits=limits), "/v1/graph:import", receive)
    assert answer == 408


async def test_a_body_that_stalls_is_given_up(single_store):
    async def receive():
        await forever()

    limits = Limits(body_timeout_s=0.05)
    services = make_services(single_store, limits=limits)
    assert await asyncio.wait_for(_call(services, "/v1/posts", receive), 5) == 408
    assert services.stats.refusals.by_kind == {"body-timeout": 1}


async def forever() -> None:
    await asyncio.Event().wait()


async def _call(services: Services, path: str, receive) -> int:
    """Calls the application itself: a client would not stall on purpose."""
    async with serve(services) as api:
        statuses = []

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "root_path": "",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {api.secrets['admin']}".encode())],
        }
        await api.app(scope, receive, send)
    return statuses[0]


def test_lines_are_the_same_however_they_are_cut():
    body = b"one\n\ntwo\r\n" + b"x" * 20 + b"\nthree\n" + b"y" * 10 + b"\r\nlast"
    whole = list(LineSplitter(10).feed(body))
    for size in range(1, 12):
        splitter = LineSplitter(10)
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        lines = [line for part in parts for line in splitter.feed(part)]
        assert lines == whole
        assert list(splitter.end()) == [(7, b"last")]
    assert whole == [(1, b"one"), (3, b"two"), (4, None), (5, b"three"), (6, b"y" * 10)]


def test_a_line_that_never_ends_is_not_kept():
    splitter = LineSplitter(10)
    for _ in range(1_000):
        assert list(splitter.feed(b"x" * 1_000)) == []
        assert len(splitter._rest) <= 11
    assert list(splitter.feed(b"\nok\n")) == [(1, None), (2, b"ok")]

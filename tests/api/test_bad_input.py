"""What is not taken, for every call: answered with a problem that names the field, and nothing
of it is written.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.api.app import ALL_CALLS
from app.api.call import USER_PARAMETERS, Call
from app.api.lines import Lines
from app.api.schemas.fields import Nothing
from tests.api.conftest import Api, snapshot, whsec
from tests.api.mistakes import SCHEMAS, bad_parameters, mistakes, unbounded
from tests.api.world import World, good_body, make_world

JSON_CALLS = [call for call in ALL_CALLS if call.body not in (Nothing, Lines)]
FORM = "application/x-www-form-urlencoded"
LATIN = "application/json; charset=latin-1"


@dataclass(frozen=True)
class Case:
    """A request, the status it gets, and the field its answer names ("" for none)."""

    method: str
    url: str
    status: int
    field: str = ""
    body: Any = None
    content: bytes | None = None
    headers: dict[str, str] | None = None
    detail: str = ""

    def __str__(self) -> str:
        shown = self.content if self.content is not None else json.dumps(self.body)
        return f"{self.method} {self.url[:90]} {shown[:90]!r} {self.headers}"


@pytest.fixture
async def world(single_api: Api) -> World:
    return await make_world(single_api)


def ask(world: World, call: Call, status: int, field: str = "", **rest: Any) -> Case:
    return Case(call.method, world.url(call), status, field, **rest)


def malformed(world: World) -> Iterator[Case]:
    """Bodies that are no JSON, or not as we read it; for calls that want none, too."""
    for call in ALL_CALLS:
        if call.body is Lines:
            continue
        for content, detail in (
            (b'{"data": }', "line 1, column 10"),
            (b"{", "line 1"),
            (b"[]", "object"),
            (b'"text"', "object"),
            (b"null", "object"),
            (b'{"a": 1, "a": 2}', '"a"'),
            (b'{"x": {"a": 1, "a": 2}}', '"a"'),
            (b'{"a": NaN}', "NaN"),
            (b'{"a": -Infinity}', "Infinity"),
            (b'{"a": 1e999}', "64 bits"),
            (b'{"a": ' + b"9" * 5_000 + b"}", "64 bits"),
            (b'{"a": 18446744073709551616}', "64 bits"),
            (b'{"a": "\xff"}', "UTF-8"),
            (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
            (b"\xef\xbb\xbf{}", ""),
            (b"\x00", "line 1"),
            ('{"a": 1}'.encode("utf-16"), "UTF-8"),
            (b'{"a":' * 65 + b"1" + b"}" * 65, "deep"),
            (b'{"a": ' + b"[" * 100_000, "deep"),
        ):
            yield ask(world, call, 400, content=content, detail=detail)


def framed_wrongly(world: World) -> Iterator[Case]:
    """Bodies of a wrong size, type or encoding, and headers that stand there twice."""
    for call in ALL_CALLS:
        if call.body is not Lines:
            yield ask(world, call, 413, content=b'{"a": "' + b"x" * 262_144 + b'"}')
        for headers in (
            {"content-type": "text/plain"},
            {"content-type": FORM},
            {"content-type": LATIN},
            {"content-type": "application/json; charset=utf-8; charset=latin-1"},
            {"content-type": "application/jsonp"},
            {"content-type": ""},
            {"content-type": "application/json, text/plain"},
            {"content-encoding": "gzip"},
            {"content-encoding": "identity, gzip"},
        ):
            yield ask(world, call, 415, content=b"{}", headers=headers)
        for name in ("Content-Type", "Idempotency-Key", "Authorization", "Content-Encoding"):
            yield ask(world, call, 422, name, content=b"{}", headers=[(name, "a"), (name, "a")])


def unknown(world: World) -> Iterator[Case]:
    """What no call has a name for, in its body and in its query."""
    for call in ALL_CALLS:
        if call.body is not Lines:
            good = {} if call.body is Nothing else good_body(call)
            yield ask(world, call, 422, "surprise", body={**good, "surprise": 1})
            yield ask(world, call, 422, "\\ud800", body={**good, "\ud800": 1})
        start = world.url(call)
        yield Case(call.method, f"{start}?surprise=1", 422, "surprise")
        yield Case(call.method, f"{start}?surprise", 422, "surprise")
        yield Case(call.method, f"{start}?LIMIT=1", 422, "LIMIT")
        yield Case(call.method, f"{start}?a=1&a=1", 422, "a")
        yield Case(call.method, f"{start}?" + "&".join(f"p{n}=1" for n in range(99)), 422)


def of_every_field(world: World) -> Iterator[Case]:
    """Each field of each body: left out, of other types, out of its bounds."""
    for call in JSON_CALLS:
        schema = {"$ref": f"#/components/schemas/{call.body.__name__}"}
        for where, bad in mistakes(schema, good_body(call)):
            if isinstance(bad, dict):
                yield ask(world, call, 422, where.removeprefix("."), body=bad)
            else:
                yield ask(world, call, 400, body=bad, content=json.dumps(bad).encode())


def of_every_parameter(world: World) -> Iterator[Case]:
    """Each parameter of each path and query."""
    for call in ALL_CALLS:
        for name in call.parameters:
            yield from _of_path(world, call, name)
        query = call.query.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, schema in query.get("properties", {}).items():
            start = world.url(call)
            for bad in bad_parameters(schema):
                yield Case(call.method, f"{start}?{name}={bad}", 422, name)
            yield Case(call.method, f"{start}?{name}=1&{name}=1", 422, name)


def _of_path(world: World, call: Call, name: str) -> Iterator[Case]:
    """A user id that cannot be one is a mistake; an id that we never gave out is not there."""
    if name in USER_PARAMETERS:
        for bad in ("a%20b", "x" * 65, "%C3%A4", "a%00b", "%00", "a%0A", "a%25b", "a+b", "a;b"):
            yield Case(call.method, world.url(call, **{name: bad}), 422, name)
    else:
        for bad in ("x", "X" * 18, "%C3%A4", "a%0A", "a%00", world.ids[name] + "0", "%FF"):
            yield Case(call.method, world.url(call, **{name: bad}), 404, name)


def post(field: str, **body: Any) -> Case:
    return Case("POST", "/v1/posts", 422, field, {"author": "ann", "data": {}, **body})


def endpoint(field: str, **body: Any) -> Case:
    good = {"user": "bob", "url": "https://public.example/"}
    return Case("POST", "/v1/endpoints", 422, field, {**good, **body})


def keyed(key: bytes | str) -> Case:
    headers = {"idempotency-key": key}
    return Case(
        "POST", "/v1/posts", 422, "Idempotency-Key", {"author": "a", "data": {}}, None, headers
    )


def by_hand(world: World) -> Iterator[Case]:
    """What a description cannot say."""
    yield from (
        post("type", type="post.created"),
        post("data.x", data={"x": "\ud800"}),
        post("data.x[1].y", data={"x": [1, {"y": "a\udfffb"}]}),
        post("data", data={"\ud800": 1}),
        post("audience", audience={"only": [], "except": []}),
        *map(keyed, ("", " ", "x" * 256, "a\tb", "ä".encode(), b"a\x00b", b"\xff", "a ")),
        endpoint("url", url=""),
        endpoint("url", url="ftp://public.example/"),
        endpoint("url", url="https://user:pass@public.example/"),
        endpoint("url", url="http://127.0.0.1/"),
        endpoint("url", url="http://2130706433/"),
        endpoint("url", url="http://[::1]/"),
        endpoint("url", url="http://inside.example/"),
        endpoint("url", url="https://public.example:22/"),
        endpoint("url", url="https://public.example/#x"),
        endpoint("url", url="https://public.example/a b"),
        endpoint("url", url="https://public.example/\x00"),
        endpoint("url", url="//public.example/"),
        endpoint("types[0]", types=["post"]),
        endpoint("types[0]", types=["*.created"]),
        endpoint("types[1]", types=["*", "post.cre*"]),
        endpoint("method", method="PUT"),
        endpoint("headers", headers={"host": "x"}),
        endpoint("headers", headers={"webhook-id": "x"}),
        endpoint("headers", headers={"x-a": "a\r\nb"}),
        endpoint("headers", headers={"x-a": "a\x00b"}),
        endpoint("headers", headers={"x a": "b"}),
        endpoint("headers", headers={"": "b"}),
        endpoint("headers", headers={"x-a": "x" * 4_096}),
        endpoint("headers", headers={"x-a": "1", "X-A": "2"}),
        endpoint("rate_per_s", rate_per_s=0.009),
        endpoint("retry_schedule_s", retry_schedule_s=[604_000, 801]),
        endpoint("secret", secret=""),
        endpoint("secret", secret="whsec_!!!!"),
        endpoint("secret", secret=whsec(24).removeprefix("whsec_")),
        endpoint("secret", secret=whsec(23)),
        endpoint("secret", secret=whsec(65)),
        Case("PUT", "/v1/users/bob/friends/bob", 422, "other"),
        Case("DELETE", "/v1/users/bob/follows/bob", 422, "other"),
        Case("PUT", "/v1/users/bob/blocks/bob", 422, "other"),
        Case("POST", "/v1/users/bob/tokens", 422, "ttl_s", {"ttl_s": 31 * 86_400}),
        Case("GET", "/v1/dead-letters?endpoint=x", 422, "endpoint"),
        Case("GET", "/v1/dead-letters?after=x.y", 422, "after"),
        Case("GET", f"/v1/posts/{world.ids['post']}/deliveries?after=1", 422, "after"),
        Case("GET", f"/v1/posts/{world.ids['post']}/deliveries?state=Pending", 422, "state"),
        Case("POST", "/v1/posts", 400, content=b""),
    )
    change = f"/v1/endpoints/{world.ids['endpoint']}"
    for name, value in (
        ("url", "http://10.0.0.1/"),
        ("retry_schedule_s", [604_801]),
        ("headers", {"host": "x"}),
        ("user", "cyd"),
        ("secret", whsec(32)),
        ("state", "active"),
    ):
        yield Case("PATCH", change, 422, name, {"description": "new", name: value})
    for body in (
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00+01:00"},
        {"since": "2999-01-01T00:00:00Z"},
    ):
        yield Case("POST", f"{change}:recover", 422, "since", body)


async def check(api: Api, case: Case) -> None:
    content = case.content
    if content is None and case.body is not None:
        content = json.dumps(case.body).encode()
    answer = await api.admin.request(case.method, case.url, content=content, headers=case.headers)
    assert answer.status_code == case.status, f"{case}: {answer.text}"
    if case.method == "HEAD":
        return
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == case.status
    assert problem["type"].startswith("urn:moments:problem:")
    assert problem["title"]
    assert case.detail in problem["detail"], case
    if case.status == 422 and case.field:
        fields = [error["field"] for error in problem["errors"]]
        assert any(names(found, case.field) for found in fields), f"{case}: {fields}"
        assert all(error["message"] for error in problem["errors"])


def names(found: str, wanted: str) -> bool:
    """The field itself, or something inside it."""
    return found == wanted or found.startswith((f"{wanted}.", f"{wanted}["))


@pytest.mark.parametrize(
    ("cases", "count_min"),
    [
        (malformed, 700),
        (framed_wrongly, 500),
        (unknown, 250),
        (of_every_field, 400),
        (of_every_parameter, 500),
        (by_hand, 50),
    ],
)
async def test_what_is_not_taken_is_named_and_not_written(world: World, cases, count_min: int):
    store = world.api.services.store
    before = await snapshot(store)
    assert len(before) > 10
    tried = list(cases(world))
    for case in tried:
        await check(world.api, case)
    assert await snapshot(store) == before
    assert len(tried) >= count_min


def test_every_field_of_every_body_has_stated_bounds():
    found = {
        place
        for call in JSON_CALLS
        for place in unbounded(SCHEMAS[call.body.__name__], call.body.__name__)
    }
    assert found == set()


async def test_a_bad_line_of_an_import_names_its_field_and_is_not_written(world: World):
    store = world.api.services.store
    before = await snapshot(store)
    good = SCHEMAS["Edge"]["examples"][0]
    found = [(w, bad) for w, bad in mistakes({"$ref": "#/components/schemas/Edge"}, good)]
    lines = "\n".join(json.dumps(bad) for _, bad in found)
    report = (await world.api.admin.post("/v1/graph:import", content=lines)).json()
    assert (report["created"], report["lines"]) == (0, len(found))
    messages = {error["line"]: error["message"] for error in report["errors"]}
    for number, (where, bad) in enumerate(found, 1):
        if isinstance(bad, dict):
            assert messages[number].startswith(f"{where.removeprefix('.')}:"), (
                bad,
                messages[number],
            )
        else:
            assert messages[number]
    assert await snapshot(store) == before


async def test_a_body_without_announced_size_is_counted_while_it_comes(single_api: Api):
    async def endless():
        yield b'{"author": "ann", "data": {"x": "'
        for _ in range(10_000):
            yield b"x" * 1_024
        raise AssertionError("read far beyond the limit")

    answer = await single_api.admin.post("/v1/posts", content=endless())
    assert answer.status_code == 413
    assert single_api.services.stats.refusals.by_kind == {"body-too-large": 1}


async def test_a_body_of_exactly_the_limit_is_taken(single_api: Api):
    frame = len(b'{"author":"ann","data":{"x":""}}')
    body = b'{"author":"ann","data":{"x":"' + b"x" * (256 * 1024 - frame) + b'"}}'
    assert (await single_api.admin.post("/v1/posts", content=body)).status_code == 202
    assert (await single_api.admin.post("/v1/posts", content=body + b" ")).status_code == 413


async def test_nesting_up_to_the_limit_is_taken(single_api: Api):
    deepest = b'{"author": "ann", "data": ' + b'{"a":' * 62 + b"[]" + b"}" * 62 + b"}"
    answer = await single_api.admin.post("/v1/posts", content=deepest)
    assert answer.status_code == 202
    one_more = b'{"author": "ann", "data": ' + b'{"a":' * 63 + b"[]" + b"}" * 63 + b"}"
    assert (await single_api.admin.post("/v1/posts", content=one_more)).status_code == 400


async def test_numbers_that_fit_are_kept_exactly(single_api: Api):
    numbers = [18446744073709551615, -9223372036854775808, 0.1, -0.0, 1e308, 5e-324]
    body = json.dumps({"author": "ann", "data": {"n": numbers}})
    answer = await single_api.admin.post("/v1/posts", content=body)
    assert answer.json()["data"]["n"] == numbers


async def test_a_body_without_a_type_or_with_parameters_is_taken(single_api: Api):
    body = b'{"author": "ann", "data": {}}'
    for type_ in ("application/json; charset=utf-8", 'application/JSON;charset="UTF-8"', None):
        headers = {} if type_ is None else {"content-type": type_}
        answer = await single_api.admin.post("/v1/posts", content=body, headers=headers)
        assert answer.status_code == 202, type_


@pytest.mark.parametrize("content", [b"", b"{}", b" { } "])
async def test_a_call_that_wants_no_body_takes_an_empty_one(single_api: Api, content: bytes):
    headers = {"content-type": "application/json"}
    for method, path in (("PUT", "/v1/users/bob/friends/cyd"), ("GET", "/v1/users/bob/friends")):
        answer = await single_api.admin.request(method, path, content=content, headers=headers)
        assert answer.status_code in (200, 204)


async def test_a_form_without_content_is_an_empty_body(single_api: Api):
    # What `curl -X POST -d ''` sends.
    headers = {"content-type": FORM}
    answer = await single_api.admin.post("/v1/users/bob/tokens", content=b"", headers=headers)
    assert answer.status_code == 201

"""What is not taken, for every call: answered with a problem that names the field, and nothing
of it is written.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from app.api.lines import Lines
from app.api.routes import CALLS
from app.api.schemas.fields import Nothing
from tests.api.conftest import Api, snapshot, whsec

POST = "01k2v3w4x5y6z7a800"
ENDPOINT = "0123456700"
PATH = {
    "user": "bob",
    "other": "cyd",
    "post": POST,
    "endpoint": ENDPOINT,
    "delivery": f"{POST}-1-0-{ENDPOINT}",
    "key": "0123456789ab",
}
# A body that would be taken, for every call that takes JSON.
GOOD: dict[str, dict[str, Any]] = {
    "POST /v1/posts": {"author": "ann", "data": {}},
    "PATCH /v1/posts/{post}": {"data": {}},
    "PUT /v1/users/{user}/cursor": {"offset": 1},
    "POST /v1/dead-letters:replay": {},
    "POST /v1/endpoints": {"user": "bob", "url": "https://public.example/"},
    "PATCH /v1/endpoints/{endpoint}": {},
    "POST /v1/endpoints/{endpoint}/secret:rotate": {},
    "POST /v1/endpoints/{endpoint}:recover": {"since": "2026-01-01T00:00:00Z"},
    "POST /v1/users/{user}/tokens": {},
    "POST /v1/keys": {"name": "x", "scopes": ["read"]},
}
JSON_CALLS = [call for call in CALLS if call.body not in (Nothing, Lines)]


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
        return f"{self.method} {self.url[:60]} {shown[:60]!r}"


def url(path: str, **parameters: str) -> str:
    return re.sub(r"{(\w+)}", lambda match: {**PATH, **parameters}[match[1]], path)


def of_every_json_call() -> list[Case]:
    cases = []
    for call in JSON_CALLS:
        where = (call.method, url(call.path))
        cases += [
            Case(*where, 400, content=b'{"data": }', detail="line 1, column 10"),
            Case(*where, 400, content=b"[]"),
            Case(*where, 400, content=b'"text"'),
            Case(*where, 400, content=b'{"a": 1, "a": 2}', detail='"a"'),
            Case(*where, 400, content=b'{"a": NaN}'),
            Case(*where, 400, content=b'{"a": -Infinity}'),
            Case(*where, 400, content=b'{"a": 1e999}'),
            Case(*where, 400, content=b'{"a": ' + b"9" * 5_000 + b"}"),
            Case(*where, 400, content=b'{"a": 18446744073709551616}'),
            Case(*where, 400, content=b'{"a": "\xff"}'),
            Case(*where, 400, content=b'{"a": "\xed\xa0\x80"}'),
            Case(*where, 400, content=b"\xef\xbb\xbf{}"),
            Case(*where, 400, content=b'{"a":' * 65 + b"1" + b"}" * 65),
            Case(*where, 400, content=b'{"a": ' + b"[" * 100_000),
            Case(*where, 413, content=b'{"a": "' + b"x" * 300_000 + b'"}'),
            Case(*where, 415, content=b"{}", headers={"content-type": "text/plain"}),
            Case(*where, 415, content=b"a=1", headers={"content-type": FORM}),
            Case(*where, 415, content=b"{}", headers={"content-type": LATIN}),
            Case(*where, 415, content=b"{}", headers={"content-encoding": "gzip"}),
            Case(*where, 422, "surprise", {**GOOD[f"{call.method} {call.path}"], "surprise": 1}),
            *of_every_field(call.body, GOOD[f"{call.method} {call.path}"], *where),
        ]
    return cases


FORM = "application/x-www-form-urlencoded"
LATIN = "application/json; charset=latin-1"
WRONG = ({"x": [1]}, [{"x": 1}], True, 3.5)


def of_every_field(model: type[BaseModel], good: dict[str, Any], *where: str) -> list[Case]:
    """Each field with values of other types, and each required one left out."""
    cases = []
    for name, info in model.model_fields.items():
        if info.is_required():
            short = {key: value for key, value in good.items() if key != name}
            cases.append(Case(*where, 422 if short or name else 400, name, short))
        for value in WRONG:
            if (name, value) in TAKEN:
                continue
            cases.append(Case(*where, 422, name, {**good, name: value}))
    return cases


TAKEN: list[tuple[str, Any]] = [("rate_per_s", 3.5), ("data", {"x": [1]})]


NO_USER = ("a%20b", "x" * 65, "%C3%A4", "a%00b", "a%0A")
NO_ID = ("x", "X" * 18, "%C3%A4", "a%0A")
NO_LIMIT = ("0", "201", "-1", "1.0", "ten", "", "%D9%A1", "+5", "1_0", "1" * 30)
NO_AFTER = ("%00", "a%20b", "%C3%A4", "x" * 200)


def of_every_path() -> list[Case]:
    cases = []
    for call in CALLS:
        for name in call.parameters:
            status, values = (422, NO_USER) if name in ("user", "other") else (404, NO_ID)
            urls = [url(call.path, **{name: value}) for value in values]
            cases += [Case(call.method, bad, status, name) for bad in urls]
        cases.append(Case(call.method, url(call.path) + "?surprise=1", 422, "surprise"))
    return cases


def of_every_list() -> list[Case]:
    cases = []
    for call in CALLS:
        if "limit" in call.query.model_fields:
            start = url(call.path)
            cases += [Case("GET", f"{start}?limit={bad}", 422, "limit") for bad in NO_LIMIT]
            cases += [Case("GET", f"{start}?after={bad}", 422, "after") for bad in NO_AFTER]
            cases.append(Case("GET", f"{start}?limit=1&limit=2", 422, "limit"))
    assert len(cases) > 100
    return cases


def post(field: str, **body: Any) -> Case:
    return Case("POST", "/v1/posts", 422, field, {"author": "ann", "data": {}, **body})


def endpoint(field: str, **body: Any) -> Case:
    good = {"user": "bob", "url": "https://public.example/"}
    return Case("POST", "/v1/endpoints", 422, field, {**good, **body})


BY_HAND = [
    post("author", author=""),
    post("author", author="a b"),
    post("author", author="bob\n"),
    post("author", author="x" * 65),
    post("author", author="\ud800"),
    post("author", author=None),
    post("type", type=""),
    post("type", type="Post"),
    post("type", type="1post"),
    post("type", type="post.created"),
    post("type", type="x" * 33),
    post("type", type=None),
    post("data", data=None),
    post("data.x", data={"x": "\ud800"}),
    post("data.x[1].y", data={"x": [1, {"y": "a\udfffb"}]}),
    post("data", data={"\ud800": 1}),
    post("audience", audience={"only": [], "except": []}),
    post("audience", audience=[]),
    post("audience.some", audience={"some": []}),
    post("audience.only", audience={"only": "bob"}),
    post("audience.only[1]", audience={"only": ["bob", "a b"]}),
    post("audience.except[0]", audience={"except": [7]}),
    post("audience.only", audience={"only": [f"u{n}" for n in range(10_001)]}),
    *(
        Case("POST", "/v1/posts", 422, "Idempotency-Key", {"author": "ann", "data": {}}, headers=h)
        for h in ({"idempotency-key": ""}, {"idempotency-key": "x" * 256})
    ),
    Case(
        "POST",
        "/v1/posts",
        422,
        "Idempotency-Key",
        {"author": "ann", "data": {}},
        headers={"idempotency-key": "a\tb"},
    ),
    endpoint("user", user="a b"),
    endpoint("url", url=""),
    endpoint("url", url="ftp://public.example/"),
    endpoint("url", url="https://user:pass@public.example/"),
    endpoint("url", url="http://127.0.0.1/"),
    endpoint("url", url="http://2130706433/"),
    endpoint("url", url="http://[::1]/"),
    endpoint("url", url="http://inside.example/"),
    endpoint("url", url="https://public.example:22/"),
    endpoint("url", url="https://public.example/#x"),
    endpoint("url", url="https://public.example/" + "x" * 3_000),
    endpoint("types", types=[]),
    endpoint("types[0]", types=["post"]),
    endpoint("types[0]", types=["*.created"]),
    endpoint("types[1]", types=["*", "post.cre*"]),
    endpoint("types[0]", types=["x" * 65]),
    endpoint("types", types=["*"] * 33),
    endpoint("method", method="PUT"),
    endpoint("method", method="post"),
    endpoint("headers", headers={"host": "x"}),
    endpoint("headers", headers={"webhook-id": "x"}),
    endpoint("headers", headers={"x-a": "a\r\nb"}),
    endpoint("headers.x-a", headers={"x-a": 1}),
    endpoint("headers", headers={f"x-{n}": "1" for n in range(17)}),
    endpoint("rate_per_s", rate_per_s=0),
    endpoint("rate_per_s", rate_per_s=0.009),
    endpoint("rate_per_s", rate_per_s=10_001),
    endpoint("retry_schedule_s[0]", retry_schedule_s=[-1]),
    endpoint("retry_schedule_s", retry_schedule_s=[1] * 33),
    endpoint("retry_schedule_s", retry_schedule_s=[604_000, 801]),
    endpoint("description", description="x" * 257),
    endpoint("description", description="\ud800"),
    endpoint("secret", secret=""),
    endpoint("secret", secret="whsec_!!!!"),
    endpoint("secret", secret=whsec(24).removeprefix("whsec_")),
    endpoint("secret", secret=whsec(23)),
    endpoint("secret", secret=whsec(65)),
    Case("PUT", "/v1/users/bob/cursor", 422, "offset", {"offset": -1}),
    Case("PUT", "/v1/users/bob/cursor", 422, "offset", {"offset": 2**53}),
    Case("PUT", "/v1/users/bob/cursor", 422, "offset", {"offset": "1"}),
    Case("PUT", "/v1/users/bob/friends/bob", 422, "other"),
    Case("DELETE", "/v1/users/bob/follows/bob", 422, "other"),
    Case("POST", "/v1/users/bob/tokens", 422, "ttl_s", {"ttl_s": 0}),
    Case("POST", "/v1/users/bob/tokens", 422, "ttl_s", {"ttl_s": 31 * 86_400}),
    Case("POST", "/v1/keys", 422, "name", {"name": "", "scopes": ["read"]}),
    Case("POST", "/v1/keys", 422, "name", {"name": "x" * 129, "scopes": ["read"]}),
    Case("POST", "/v1/keys", 422, "scopes", {"name": "x", "scopes": []}),
    Case("POST", "/v1/keys", 422, "scopes[0]", {"name": "x", "scopes": ["root"]}),
    Case("POST", "/v1/dead-letters:replay", 422, "endpoint", {"endpoint": "x"}),
    Case("POST", "/v1/dead-letters:replay", 422, "since", {"since": "yesterday"}),
    Case("POST", "/v1/dead-letters:replay", 422, "since", {"since": "2026-01-01"}),
    Case("POST", "/v1/dead-letters:replay", 422, "since", {"since": "2026-01-01T00:00:00"}),
    Case("POST", "/v1/dead-letters:replay", 422, "since", {"since": "2026-02-30T00:00:00Z"}),
    Case("POST", "/v1/dead-letters:replay", 422, "since", {"since": "0000-01-01T00:00:00Z"}),
    Case("POST", "/v1/dead-letters:replay", 422, "since", {"since": "0001-01-01T00:00:00+23:59"}),
    Case("GET", "/v1/dead-letters?endpoint=x", 422, "endpoint"),
    Case("GET", "/v1/dead-letters?after=x.y", 422, "after"),
    Case("GET", f"/v1/posts/{POST}/deliveries?state=lost", 422, "state"),
    Case("GET", f"/v1/posts/{POST}/deliveries?state=", 422, "state"),
    Case("GET", f"/v1/posts/{POST}/deliveries?channel=mail", 422, "channel"),
    Case("GET", "/v1/users/bob/feed?after=-1", 422, "after"),
    Case("GET", "/v1/users/bob/feed?after=1.5", 422, "after"),
    Case("GET", "/v1/users/bob/feed?after=9007199254740992", 422, "after"),
    Case("GET", "/v1/users/bob/feed?wait_s=31", 422, "wait_s"),
    Case("GET", "/v1/users/bob/feed?wait_s=-1", 422, "wait_s"),
    Case("GET", "/v1/users/bob/feed?wait_s=nan", 422, "wait_s"),
    Case("GET", "/v1/users/bob/feed?wait_s=inf", 422, "wait_s"),
    Case("GET", "/v1/users/bob/feed?wait_s=1e1", 422, "wait_s"),
    Case("GET", "/v1/users/bob/feed?" + "&".join(f"p{n}=1" for n in range(99)), 422),
    Case("POST", "/v1/graph:import", 415, content=b"{}", headers={"content-type": "text/plain"}),
    Case("POST", "/v1/posts", 400, content=b""),
    Case("POST", "/v1/posts", 400, content=b"null"),
    Case("POST", "/v1/users/bob/tokens", 400, content=b"null"),
]


async def check(api: Api, case: Case) -> None:
    content = case.content
    if content is None and case.body is not None:
        content = json.dumps(case.body).encode()
    answer = await api.admin.request(case.method, case.url, content=content, headers=case.headers)
    assert answer.status_code == case.status, f"{case}: {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == case.status
    assert problem["type"].startswith("urn:moments:problem:")
    assert problem["title"]
    assert case.detail in problem["detail"]
    if case.status == 422 and case.field:
        fields = [error["field"] for error in problem["errors"]]
        assert any(names(found, case.field) for found in fields), f"{case}: {fields}"
        assert all(error["message"] for error in problem["errors"])


def names(found: str, wanted: str) -> bool:
    """The field itself, or something inside it."""
    return found == wanted or found.startswith((f"{wanted}.", f"{wanted}["))


@pytest.mark.parametrize(
    "cases",
    [of_every_json_call, of_every_path, of_every_list, lambda: BY_HAND],
    ids=["bodies", "paths", "lists", "by hand"],
)
async def test_what_is_not_taken_is_named_and_not_written(single_api: Api, cases):
    store = single_api.services.store
    before = await snapshot(store)
    assert before
    for case in cases():
        await check(single_api, case)
    assert await snapshot(store) == before


async def test_a_bad_change_leaves_an_endpoint_as_it_was(api: Api):
    made = await api.admin.post(
        "/v1/endpoints", json={"user": "bob", "url": "https://public.example/"}
    )
    path = f"/v1/endpoints/{made.json()['id']}"
    before = await snapshot(api.services.store)
    for name, value in (
        ("url", None),
        ("url", "http://10.0.0.1/"),
        ("types", ["x"]),
        ("method", "PUT"),
        ("headers", {"host": "x"}),
        ("rate_per_s", 0),
        ("retry_schedule_s", [604_801]),
        ("description", 7),
        ("user", "cyd"),
        ("secret", whsec(32)),
        ("state", "active"),
    ):
        body = {"description": "new", name: value}
        await check(api, Case("PATCH", path, 422, name, body))
    assert await snapshot(api.services.store) == before


async def test_a_recovery_must_begin_before_it_ends(api: Api):
    made = await api.admin.post(
        "/v1/endpoints", json={"user": "bob", "url": "https://public.example/"}
    )
    path = f"/v1/endpoints/{made.json()['id']}:recover"
    for body in (
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00+01:00"},
        {"since": "2999-01-01T00:00:00Z"},
    ):
        await check(api, Case("POST", path, 422, "since", body))
    await check(api, Case("POST", path, 422, "since", {}))


async def test_a_body_without_announced_size_is_counted_while_it_comes(single_api: Api):
    async def endless():
        yield b'{"author": "ann", "data": {"x": "'
        for _ in range(10_000):
            yield b"x" * 1_024
        raise AssertionError("read far beyond the limit")

    answer = await single_api.admin.post("/v1/posts", content=endless())
    assert answer.status_code == 413


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

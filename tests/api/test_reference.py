"""The page /docs: all that the descriptions have, reachable, and within the policy of pages."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx
import pytest

from app.api.app import create_app
from app.api.sessions import Sessions
from app.console.pages import pages
from app.console.reference import Piece, kind_of, limits_of, page, pieces
from app.domain.close_codes import CloseCode
from app.sealing import Sealer
from app.store.client import Store
from tests.api import pushed
from tests.api.conftest import make_services
from tests.api.description import DOCUMENT

OPERATIONS = [
    (method.upper(), path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
# Elements that have no end.
VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """What a page is made of. Fails when an element is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all_of(self, attribute: str) -> list[str]:
        return [found[attribute] for _, found in self.elements if attribute in found]


PAGE = Page(page().decode())
TEXT = " ".join("".join(PAGE.text).split())


@pytest.fixture
async def client(single_store: Store) -> AsyncIterator[httpx.AsyncClient]:
    services = make_services(single_store, sessions=Sessions(Sealer(bytes(32)), session_s=60))
    transport = httpx.ASGITransport(create_app(services, pages))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


async def test_it_is_shown_to_anybody_under_the_policy_of_pages(client: httpx.AsyncClient):
    answer = await client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.content == page()


async def test_all_that_it_loads_is_of_this_host_and_there(client: httpx.AsyncClient):
    loaded = [
        attributes.get("src") or attributes["href"]
        for tag, attributes in PAGE.elements
        if tag in ("script", "link", "img")
    ]
    assert {"/console/console.css", "/console/reference.css", "/console/reference.js"} < set(loaded)
    for path in loaded:
        assert urlsplit(path).netloc == ""
        assert (await client.get(path)).status_code == 200


async def test_it_is_left_out_with_the_console(single_store: Store):
    transport = httpx.ASGITransport(create_app(make_services(single_store)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 200
        assert (await client.get("/asyncapi.json")).status_code == 200


def test_no_script_or_style_stands_in_it():
    for tag, attributes in PAGE.elements:
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_every_place_has_a_name_of_its_own_and_every_link_a_place():
    places = PAGE.all_of("id")
    assert len(places) == len(set(places))
    for target in PAGE.all_of("href"):
        if target.startswith("#"):
            assert target.removeprefix("#") in places
    for attribute in ("aria-labelledby", "aria-describedby", "for", "data-entry"):
        for names in PAGE.all_of(attribute):
            assert set(names.split()) <= set(places), names


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    OPERATIONS,
    ids=[operation["operationId"] for _, _, operation in OPERATIONS],
)
def test_every_call_is_there_with_its_examples(method: str, path: str, operation: dict):
    places = PAGE.all_of("id")
    assert operation["operationId"] in places
    assert f"{method} {path}" in TEXT
    assert operation["summary"] in TEXT
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            for example in content.get("examples", {}).values():
                shown = json.dumps(example["value"], indent=2, ensure_ascii=False)
                assert " ".join(shown.split()) in TEXT


def test_every_schema_message_and_close_code_is_there():
    places = set(PAGE.all_of("id"))
    for document in (DOCUMENT, pushed.DOCUMENT):
        assert {f"schema-{name}" for name in document["components"]["schemas"]} <= places
    assert {name.replace(".", "-") for name in pushed.DOCUMENT["components"]["messages"]} <= places
    assert {f"refusal-{name}" for name in DOCUMENT["components"]["responses"]} <= places
    for code in CloseCode:
        assert re.search(rf"{code.value} ?{re.escape(code.reason)}", TEXT)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Delivery"}}, "list of Delivery"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "whole number or null"),
        ({"enum": ["a", "b"]}, '"a" or "b"'),
        ({"const": True}, "true"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of text"),
        ({"type": "object", "additionalProperties": True}, "object"),
        ({"type": "boolean"}, "true or false"),
        ({}, "anything"),
    ],
)
def test_the_kind_of_a_value_is_told_in_words(schema: dict, told: str):
    assert "".join(piece.text for piece in kind_of(schema)) == told


def test_limits_are_told_in_words():
    schema = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 2000}, {"type": "null"}]}
    assert limits_of({**schema, "default": 50}) == "from 1, to 2,000, default 50"
    assert limits_of({"type": "string", "default": None}) == ""


def test_code_in_a_text_is_told_apart():
    assert pieces("Send `a` or\n  `b`.") == [
        *(Piece("Send "), Piece("a", is_code=True), Piece(" or "), Piece("b", is_code=True)),
        Piece("."),
    ]

"""The description of sockets and webhooks: it is one, and what is pushed is as it says."""

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from websockets.exceptions import ConnectionClosed

from app.api.asyncapi import document
from app.domain.close_codes import CloseCode
from app.domain.socket import PARAMETERS
from app.errors import Rejected
from app.gateway.encoding import ENCODINGS
from app.gateway.messages import Unknown, parse
from app.gateway.opening import parse_opening
from app.store.client import Store
from tests.api.conftest import Api
from tests.api.pushed import DOCUMENT, check_webhook, messages_of, name_of, resolved, validator
from tests.flows.service import Service, Socket, serve
from tests.receivers import Receiver, status
from tests.wait import wait_until

# Of the package @asyncapi/specs on npm, whose license is Apache-2.0.
SCHEMA = json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text())
PUSH, LISTEN = "push", "listen"


async def test_the_description_is_served_to_anybody_and_is_valid(single_api: Api):
    async with single_api.client(None) as client:
        answer = await client.get("/asyncapi.json")
    assert answer.status_code == 200
    described = answer.json()
    assert described == json.loads(json.dumps(document())) == DOCUMENT
    errors = [error.message for error in Draft7Validator(SCHEMA).iter_errors(described)]
    assert errors == []


def test_a_description_that_is_none_is_found():
    broken = {**DOCUMENT, "channels": {"socket": {"address": 7}}}
    assert list(Draft7Validator(SCHEMA).iter_errors(broken))


def test_every_reference_leads_somewhere():
    refs = set(references(DOCUMENT))
    assert len(refs) > 30
    for ref in refs:
        assert resolved({"$ref": ref})


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


@pytest.mark.parametrize("name", list(DOCUMENT["components"]["messages"]))
def test_every_message_has_examples_that_it_allows(name: str):
    message = DOCUMENT["components"]["messages"][name]
    assert message["summary"]
    assert message["examples"]
    for example in message["examples"]:
        validator(message["payload"]).validate(example["payload"])
        assert ("headers" in example) is ("headers" in message)
        if "headers" in message:
            validator(message["headers"]).validate(example["headers"])


@pytest.mark.parametrize("name", list(messages_of(PUSH)))
def test_an_example_of_one_message_is_none_of_another(name: str):
    for example in messages_of(PUSH)[name]["examples"]:
        assert name_of(PUSH, example["payload"]) == name


def test_every_close_code_and_subprotocol_is_told():
    told = DOCUMENT["channels"]["socket"]["description"]
    for code in CloseCode:
        assert f"{code.value} {code.reason}" in told
    for name in ENCODINGS:
        assert f"`{name}`" in told


@pytest.mark.parametrize(
    "message",
    [
        *({"type": "ack", "offset": 0}, {"type": "ack", "offset": 12}),
        *({"type": "ack", "offset": -1}, {"type": "ack", "offset": "1"}, {"type": "ack"}),
        *({"type": "ack", "offset": 1, "of": 2}, {"type": "ack", "offset": True}),
        *({"type": "token", "token": "a.b.c"}, {"type": "token", "token": 7}, {"type": "token"}),
        *({"type": "pong"}, {}, [], None, "ack", {"type": ["ack"], "offset": 1}),
    ],
    ids=json.dumps,
)
def test_what_is_described_is_taken_and_nothing_else(message: Any):
    valid = [
        name
        for name, described in messages_of(LISTEN).items()
        if validator(described["payload"]).is_valid(message)
    ]
    assert bool(valid) is not isinstance(parse(message), Unknown)


@pytest.mark.parametrize(
    "query",
    [
        *({}, {"after": "0"}, {"after": "12", "epoch": "x", "ack": "explicit", "token": "t"}),
        *({"after": "-1"}, {"after": "1.0"}, {"after": "9" * 16}, {"after": ""}),
        *({"ack": "never"}, {"offset": "1"}),
    ],
    ids=json.dumps,
)
def test_a_query_is_taken_when_the_description_allows_it(query: dict[str, str]):
    described = DOCUMENT["channels"]["socket"]["bindings"]["ws"]["query"]
    assert set(described["properties"]) == PARAMETERS
    try:
        parse_opening("&".join(f"{name}={value}" for name, value in query.items()))
        is_taken = True
    except Rejected:
        is_taken = False
    assert validator(described).is_valid(query) is is_taken


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_every_frame_is_one_that_is_described(single_store: Store, encoding: str):
    seen: list[str] = []
    async with AsyncExitStack() as sockets:
        async with serve(single_store, inbox_max=10, inbox_keep=5) as service:
            await thirteen_events(service)
            for query in ({"after": 1}, {"after": 3, "epoch": "another"}):
                async with service.socket("bob", encoding=encoding, **query) as socket:
                    seen += await names_until_newest(socket)
            opening = service.socket("bob", encoding=encoding, ack="explicit", after=13)
            socket = await sockets.enter_async_context(opening)
            token = (await service.call("POST", "/users/bob/tokens", {"ttl_s": 60}))["token"]
            acknowledgement = {"type": "ack", "offset": 13}
            for said in ({"type": "token", "token": token}, {"type": "ping"}, acknowledgement):
                assert name_of(LISTEN, said) == said["type"]
                await say(socket, said)

            async def is_acknowledged() -> bool:
                return (await service.call("GET", "/users/bob/feed"))["cursor"] == 13

            await wait_until(is_acknowledged)
        # The gateway goes before its socket does.
        with suppress(ConnectionClosed):
            while True:
                seen.append(name_of(PUSH, await socket.next()))
    assert set(seen) == set(messages_of(PUSH))


async def thirteen_events(service: Service) -> None:
    """In bob's inbox: of a post that is edited and deleted, and of ten others."""
    await service.befriend(("alice", "bob"))
    post = await service.post("alice")
    await service.call("PATCH", f"/posts/{post['id']}", {"data": {"text": "again"}})
    await service.call("DELETE", f"/posts/{post['id']}")
    for _ in range(10):
        await service.post("alice")

    async def all_are_there() -> bool:
        return (await service.call("GET", "/users/bob/feed"))["head_offset"] == 13

    await wait_until(all_are_there)  # posts of several shards, in no order


async def say(socket: Socket, message: dict[str, Any]) -> None:
    subprotocol = socket.connection.subprotocol
    assert subprotocol is not None
    encoded = ENCODINGS[subprotocol].encode(message)
    await socket.connection.send(encoded, text=subprotocol.endswith("json"))


async def names_until_newest(socket: Socket) -> list[str]:
    """What came, by name, until the newest event there is."""
    names = [name_of(PUSH, socket.hello)]
    offset = 0
    while offset < socket.hello["head"]:
        frame = await socket.next()
        names.append(name_of(PUSH, frame))
        offset = frame.get("offset", offset)
    return names


async def test_every_webhook_is_one_that_is_described(single_store: Store):
    async with Receiver() as receiver, serve(single_store) as service:
        await service.befriend(("alice", "bob"))
        for method, signing in (("POST", "hmac"), ("rest", "ed25519"), ("GET", "hmac")):
            made = await service.register("bob", receiver.url, method=method, signing=signing)
            await service.call("POST", f"/endpoints/{made['id']}:ping")
        assert len(receiver.requests) == 3
        for ping in receiver.requests:
            check_webhook(ping, "ping")
        await events_of_a_post(service, receiver)
    events = receiver.requests[3:]
    for event in events:
        check_webhook(event)
    assert {event.method for event in events} == {"POST", "PUT", "DELETE", "GET"}
    assert {"post.created", "post.updated", "post.deleted"} == {
        event.event()["type"] for event in events
    }


async def events_of_a_post(service: Service, receiver: Receiver) -> None:
    """A post, its edit and its deletion, each once the one before has come three times."""
    post = await service.post("alice")
    await wait_until(lambda: len(receiver.requests) == 6)
    await service.call("PATCH", f"/posts/{post['id']}", {"data": {"text": "again"}})
    await wait_until(lambda: len(receiver.requests) == 9)
    await service.call("DELETE", f"/posts/{post['id']}")
    await wait_until(lambda: len(receiver.requests) == 12)


async def test_the_challenge_and_its_echo_are_described(single_store: Store):
    echoes = Receiver(echoes=True)
    async with echoes as receiver, serve(single_store, verify_endpoints=True) as service:
        made = await service.register("bob", receiver.url)

        async def is_active() -> bool:
            return (await service.call("GET", f"/endpoints/{made['id']}"))["state"] == "active"

        await wait_until(is_active)
    check_webhook(receiver.requests[0], "challenge")
    reply = DOCUMENT["operations"]["challenge"]["reply"]
    echo = resolved(resolved(reply["messages"][0]))
    challenge = receiver.requests[0].json()["data"]["challenge"]
    validator(echo["payload"]).validate({"challenge": challenge})
    assert not validator(echo["payload"]).is_valid({"data": {"challenge": challenge}})


async def test_what_the_service_itself_has_to_tell_is_described(single_store: Store):
    async with Receiver() as well, Receiver(status(410)) as gone, serve(single_store) as service:
        await service.befriend(("alice", "bob"))
        await service.register("bob", gone.url)
        await service.register("bob", well.url, types=["endpoint.*"])
        async with service.socket("bob") as socket:
            await service.post("alice")
            frames = await socket.take(2)
        assert [name_of(PUSH, frame) for frame in frames] == ["event", "event"]
        assert frames[1]["type"] == "endpoint.disabled"
        await wait_until(lambda: well.requests)
    check_webhook(well.requests[0])

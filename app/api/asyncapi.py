"""What is pushed, described: an AsyncAPI 3.0 document of the socket and the webhook, made from the
models and names that the code itself uses.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from app import __version__
from app.api.schemas.examples import DELIVERY_ID, EPOCH, ITEM, example_of
from app.api.schemas.feed import FeedItem
from app.api.schemas.webhooks import (
    WEBHOOK_HEADERS,
    ChallengeEcho,
    Webhook,
    WebhookChallenge,
    WebhookPing,
)
from app.domain.close_codes import CloseCode
from app.domain.socket import (
    JSON_SUBPROTOCOL,
    MSGPACK_SUBPROTOCOL,
    OFFSET_DIGITS_MAX,
    SOCKET_PATH,
    AckMessage,
    GapMessage,
    GoodbyeMessage,
    HelloMessage,
    PingMessage,
    PongMessage,
    ResetMessage,
    TokenMessage,
)

_REF: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message. `is_theirs`: clients send it, and may put nothing else into it. `id` is
    a `webhook-id` of it, if it is sent by webhook."""

    name: str
    title: str
    model: Any
    examples: Sequence[Mapping[str, Any]]
    is_theirs: bool = False
    id: str = ""


_TOKEN: Final = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"

SOCKET_MESSAGES: Final = (
    Message(
        "hello",
        "The socket is open",
        HelloMessage,
        (
            {
                "type": "hello",
                "user": "bob",
                "epoch": EPOCH,
                "head": 1,
                "cursor": 0,
                "ping_s": 25.0,
            },
        ),
    ),
    Message("event", "Something happened to a post", FeedItem, (ITEM,)),
    Message("gap", "Offsets that are gone", GapMessage, ({"type": "gap", "from": 1, "to": 200},)),
    Message("reset", "Begin anew", ResetMessage, ({"type": "reset", "epoch": EPOCH},)),
    Message(
        "goodbye",
        "Come back later",
        GoodbyeMessage,
        ({"type": "goodbye", "reason": "shutdown", "reconnect_ms": 740},),
    ),
    Message("pong", "Still there", PongMessage, ({"type": "pong"},)),
    Message("ping", "Still there?", PingMessage, ({"type": "ping"},), is_theirs=True),
    Message(
        "ack", "Dealt with up to here", AckMessage, ({"type": "ack", "offset": 1},), is_theirs=True
    ),
    Message(
        "token",
        "The token, or a new one",
        TokenMessage,
        ({"type": "token", "token": _TOKEN},),
        is_theirs=True,
    ),
)
WEBHOOK_MESSAGES: Final = (
    Message("event", "An event", Webhook, example_of(Webhook), id=DELIVERY_ID),
    Message("ping", "A ping", WebhookPing, example_of(WebhookPing), id="ping-6f1d0b9a7c3e5824"),
    Message(
        "challenge",
        "A challenge",
        WebhookChallenge,
        example_of(WebhookChallenge),
        id="verify-5b0d7f3ac1e94826",
    ),
    Message(
        "echo", "The echo of a challenge", ChallengeEcho, example_of(ChallengeEcho), is_theirs=True
    ),
)


class _Schemas(GenerateJsonSchema):
    """Without titles of fields, which only say their names again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document() -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    refs, schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "moments: sockets and webhooks",
            "version": __version__,
            "description": "What is pushed to a recipient, and what may be said in return. "
            "Calls of the API: `/openapi.json`.",
        },
        "defaultContentType": _JSON,
        "servers": _servers(),
        "channels": {
            "socket": _socket_channel(),
            "webhook": {
                "address": None,
                "title": "An endpoint's URL",
                "description": "Whatever `url` an endpoint was registered with.",
                "servers": [{"$ref": "#/servers/receiver"}],
                "messages": _messages_of(WEBHOOK_MESSAGES, "webhook"),
            },
        },
        "operations": {**_socket_operations(), **_webhook_operations()},
        "components": {
            "schemas": schemas,
            "messages": {
                **_messages(SOCKET_MESSAGES, "socket", refs),
                **_messages(WEBHOOK_MESSAGES, "webhook", refs),
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A user token in the header `Authorization`.",
                },
                "query": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "token",
                    "description": "The same in the URL, for browsers. Or as the first message: "
                    "`token`.",
                },
            },
        },
    }


def _schemas() -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """References by name of the model, and what they refer to."""
    models = {one.model.__name__: one for one in (*SOCKET_MESSAGES, *WEBHOOK_MESSAGES)}
    found, definitions = TypeAdapter.json_schemas(
        [(name, "serialization", TypeAdapter(one.model)) for name, one in models.items()],
        ref_template=_REF,
        schema_generator=_Schemas,
    )
    schemas: dict[str, Any] = definitions["$defs"]
    for name, one in models.items():
        if one.is_theirs and one.model is not ChallengeEcho:
            schemas[name]["additionalProperties"] = False
    return {name: ref for (name, _), ref in found.items()}, schemas


def _servers() -> dict[str, Any]:
    def server(host: str, protocol: str, description: str, **more: Any) -> dict[str, Any]:
        described = {"host": host, "protocol": protocol, "description": description, **more}
        return {**described, "variables": {"host": {"description": "Where it is reached."}}}

    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("bearer", "query")]
    return {
        "gateway": server("{host}", "ws", "A gateway: port 8001 at first.", security=security),
        "receiver": server("{host}", "https", "Whoever receives webhooks; http where allowed."),
    }


def _socket_channel() -> dict[str, Any]:
    return {
        "address": SOCKET_PATH,
        "title": "A user's socket",
        "description": "Subprotocols: "
        f"`{JSON_SUBPROTOCOL}` (text frames, the default) and `{MSGPACK_SUBPROTOCOL}` (the same "
        "objects in MessagePack, binary frames). The `hello` comes first, then events in the order "
        "of their offsets. Close codes: " + _close_codes(),
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": _messages_of(SOCKET_MESSAGES, "socket"),
        "bindings": {
            "ws": {"method": "GET", "query": QUERY, "bindingVersion": "0.1.0"},
        },
    }


QUERY: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "token": {"type": "string", "description": "A user token."},
        "after": {
            "type": "string",
            "pattern": f"^[0-9]{{1,{OFFSET_DIGITS_MAX}}}$",
            "description": "The last offset the client has. Without it the stream goes on from the "
            "acknowledged cursor.",
        },
        "epoch": {
            "type": "string",
            "description": "The `epoch` of the `hello` that `after` belongs to.",
        },
        "ack": {
            "type": "string",
            "enum": ["auto", "explicit"],
            "default": "auto",
            "description": "`auto`: what was written to the connection counts as delivered. "
            "`explicit`: what the client has acknowledged does; the rest is pushed again.",
        },
    },
}


def _close_codes() -> str:
    """All of ours in one sentence, with what a client is to do."""
    back = ", ".join(f"{code.value} {code.reason}" for code in CloseCode if code.may_reconnect)
    not_back = ", ".join(
        f"{code.value} {code.reason}" for code in CloseCode if not code.may_reconnect
    )
    return f"come back after {back}; do not after {not_back}."


def _socket_operations() -> dict[str, Any]:
    return {
        "push": {
            "action": "send",
            "channel": {"$ref": "#/channels/socket"},
            "title": "Push to a socket",
            "summary": "Greets, and pushes each event of the user's inbox.",
            "messages": _refs_to("socket", [one for one in SOCKET_MESSAGES if not one.is_theirs]),
        },
        "listen": {
            "action": "receive",
            "channel": {"$ref": "#/channels/socket"},
            "title": "What a client may say",
            "summary": "Takes acknowledgements, tokens and pings. Anything else closes the socket: "
            f"{CloseCode.BAD_MESSAGE.value}.",
            "messages": _refs_to("socket", [one for one in SOCKET_MESSAGES if one.is_theirs]),
        },
    }


def _webhook_operations() -> dict[str, Any]:
    event, ping, challenge, echo = WEBHOOK_MESSAGES

    def sent(title: str, summary: str, message: Message, **more: Any) -> dict[str, Any]:
        return {
            "action": "send",
            "channel": {"$ref": "#/channels/webhook"},
            "title": title,
            "summary": summary,
            "messages": _refs_to("webhook", [message]),
            "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            **more,
        }

    return {
        "deliver": sent(
            "Deliver an event",
            "Sent again until it is answered 2xx within 15 s, or is given up. An endpoint with the "
            "method `rest` gets updates by PUT and deletions by DELETE, one with `GET` the fields "
            "in the query, `data` among them as JSON.",
            event,
        ),
        "ping": sent("Ping an endpoint", "Sent once, when `:ping` asks for it.", ping),
        "challenge": sent(
            "Challenge an endpoint",
            "Sent to an endpoint that is unverified.",
            challenge,
            reply={
                "channel": {"$ref": "#/channels/webhook"},
                "messages": _refs_to("webhook", [echo]),
            },
        ),
    }


def _refs_to(channel: str, messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{one.name}"} for one in messages]


def _messages_of(messages: Sequence[Message], channel: str) -> dict[str, Any]:
    return {one.name: {"$ref": f"#/components/messages/{_key(channel, one)}"} for one in messages}


def _key(channel: str, message: Message) -> str:
    return f"{channel}.{message.name}"


def _messages(
    messages: Sequence[Message], channel: str, refs: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    return {_key(channel, one): _message(one, refs[one.model.__name__]) for one in messages}


def _message(message: Message, payload: Mapping[str, Any]) -> dict[str, Any]:
    headers = {**EXAMPLE_HEADERS, "webhook-id": message.id} if message.id else None
    described: dict[str, Any] = {
        "name": message.name,
        "title": message.title,
        "summary": " ".join((message.model.__doc__ or "").split()),
        "contentType": _JSON,
        "payload": payload,
        "examples": [
            {"payload": one} if headers is None else {"headers": headers, "payload": one}
            for one in message.examples
        ],
    }
    if message.id:
        described["headers"] = HEADERS
    return described


# As they arrive: every value of a header is text.
HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "required": [name for name, _, _ in WEBHOOK_HEADERS],
    "properties": {
        name: {"type": "string", "description": text, "pattern": pattern}
        for (name, text, _), pattern in zip(
            WEBHOOK_HEADERS,
            (r"^[^.]{1,128}$", r"^[0-9]+$", r"^v1a?,\S+( v1a?,\S+)*$", r"^[1-9][0-9]*$"),
            strict=True,
        )
    },
}
EXAMPLE_HEADERS: Final = {
    name: str(schema.get("examples", [1])[0]) for name, _, schema in WEBHOOK_HEADERS
}

"""Webhooks as their receivers check them: by framework, and what is refused with which words."""

import json
import os
import sys
import time
from urllib.parse import urlencode

import httpx
import pytest

from app.domain.signature import Ed25519Signer, new_secret, new_signing_key, sign_with
from moments_client import ExpiredPost, PushedPost
from moments_client.webhooks import (
    Challenge,
    InvalidWebhook,
    Ping,
    Receiver,
    WebhookEvent,
)
from tests.clients.python.frameworks import FRAMEWORKS

SECRET = new_secret(lambda count: bytes(range(count)))
SIGNING_KEY = new_signing_key(lambda count: bytes(range(count)))
PUBLIC_KEY = Ed25519Signer(SIGNING_KEY).public_key
POST = {
    "id": "01kg9ys7g0d2pf2d03",
    "author": "ann",
    "type": "post",
    "version": 1,
    "created_at": "2026-01-31T12:00:00.000Z",
    "data": {"text": "grüße"},
}
EVENT = {
    "type": "post.created",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "recipient": "bob",
    "offset": 12,
    "data": {"post": POST},
}
PING = {"type": "ping", "timestamp": "2026-01-31T12:00:00.000Z", "data": {"ping": True}}
CHALLENGE = {
    "type": "endpoint.verify",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "data": {"challenge": "9fQm", "endpoint": "ky77tv2v00"},
}


def encoded(fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def signed(text: bytes, *secrets: str, age_s: float = 0.0, **more: str) -> dict[str, str]:
    """The headers that the service sends with such a body, or query."""
    timestamp = str(int(time.time() - age_s)).encode()
    signature = sign_with(secrets or (SECRET,))(b"d-1", timestamp, text)
    return {
        "webhook-id": "d-1",
        "webhook-timestamp": timestamp.decode(),
        "webhook-signature": signature.decode(),
        "moments-attempt": "2",
        "content-type": "application/json",
        **more,
    }


def refused(text: bytes, headers: dict[str, str], *secrets: str) -> InvalidWebhook:
    with pytest.raises(InvalidWebhook) as caught:
        Receiver(*(secrets or (SECRET,))).receive(text, headers)
    assert 400 <= caught.value.status < 500
    return caught.value


# In each framework.


class Shop:
    """An application in one of the frameworks, and the events that it was given."""

    def __init__(self, framework: str) -> None:
        self._ask = FRAMEWORKS[framework]
        self.events: list[WebhookEvent] = []
        self.fails = False

    def _take(self, event: WebhookEvent) -> None:
        self.events.append(event)
        if self.fails:
            raise RuntimeError("no room")

    async def ask(
        self, text: bytes, headers: dict[str, str], method: str = "POST"
    ) -> httpx.Response:
        query, body = (text, b"") if method == "GET" else (b"", text)
        return await self._ask(SECRET, self._take, method, query, headers, body)


@pytest.fixture(params=FRAMEWORKS)
def shop(request: pytest.FixtureRequest) -> Shop:
    return Shop(request.param)


async def test_an_event_is_accepted_and_typed(shop: Shop):
    body = encoded(EVENT)
    answer = await shop.ask(body, signed(body))
    assert (answer.status_code, answer.content) == (204, b"")
    [event] = shop.events
    assert (event.id, event.attempt, event.type, event.recipient, event.offset) == (
        "d-1",
        2,
        "post.created",
        "bob",
        12,
    )
    assert isinstance(event.post, PushedPost)
    assert event.post.data == {"text": "grüße"}
    assert event.timestamp.tzinfo is not None


async def test_what_is_not_signed_so_is_refused_with_the_reason(shop: Shop):
    body = encoded(EVENT)
    answer = await shop.ask(body.replace(b"bob", b"eve"), signed(body))
    assert answer.status_code == 401
    assert "no signature in webhook-signature matches" in answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    answer = await shop.ask(body, {})
    assert (answer.status_code, "webhook-id is missing" in answer.text) == (400, True)
    answer = await shop.ask(body, signed(body, age_s=301))
    assert (answer.status_code, "s old" in answer.text) == (400, True)
    assert shop.events == []


async def test_a_challenge_is_echoed_and_a_ping_accepted(shop: Shop):
    body = encoded(CHALLENGE)
    answer = await shop.ask(body, signed(body))
    assert (answer.status_code, answer.json()) == (200, {"challenge": "9fQm"})
    body = encoded(PING)
    assert (await shop.ask(body, signed(body))).status_code == 204
    assert shop.events == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
async def test_endpoints_may_have_other_methods(shop: Shop, method: str):
    data = encoded(EVENT["data"])
    query = urlencode({**EVENT, "data": data}).encode()
    text = query if method == "GET" else encoded(EVENT)
    assert (await shop.ask(text, signed(text), method)).status_code == 204
    assert [event.offset for event in shop.events] == [12]


async def test_what_fails_in_the_application_is_asked_for_again(shop: Shop):
    shop.fails = True
    body = encoded(EVENT)
    assert (await shop.ask(body, signed(body))).status_code == 500


async def test_what_is_longer_than_a_webhook_is_not_read(shop: Shop):
    body = b"x" * (3 * 1024 * 1024)  # more than Django's own limit, too
    assert 400 <= (await shop.ask(body, signed(body))).status_code < 500
    assert shop.events == []


# Whatever the framework.


def test_each_kind_has_its_type():
    receiver = Receiver(SECRET)
    kinds = {}
    for fields in (EVENT, PING, CHALLENGE):
        body = encoded(fields)
        kinds[str(fields["type"])] = receiver.receive(body, signed(body))
    assert isinstance(kinds["post.created"], WebhookEvent)
    assert isinstance(kinds["ping"], Ping)
    challenge = kinds["endpoint.verify"]
    assert isinstance(challenge, Challenge)
    assert (challenge.endpoint, challenge.echo) == ("ky77tv2v00", {"challenge": "9fQm"})


def test_a_post_that_is_gone_is_told_as_such():
    body = encoded({**EVENT, "data": {"post": {"id": POST["id"], "expired": True}}})
    event = Receiver(SECRET).receive(body, signed(body))
    assert isinstance(event, WebhookEvent)
    assert event.post == ExpiredPost(id=str(POST["id"]), expired=True)


def test_names_of_headers_may_be_in_any_case_and_in_pairs():
    body = encoded(EVENT)
    headers = {name.title(): value for name, value in signed(body).items()}
    assert Receiver(SECRET).receive(body, headers) == Receiver(SECRET).receive(
        body, list(headers.items())
    )


def test_a_public_key_checks_too_and_both_while_one_takes_the_others_place():
    body = encoded(EVENT)
    for headers in (signed(body, SIGNING_KEY), signed(body, SIGNING_KEY, SECRET)):
        assert isinstance(Receiver(PUBLIC_KEY).receive(body, headers), WebhookEvent)
    other = Ed25519Signer(new_signing_key(os.urandom)).public_key
    assert refused(body, signed(body, SIGNING_KEY), other).status == 401
    assert refused(body, signed(body, SECRET), PUBLIC_KEY).status == 401
    both = Receiver(other, new_secret(os.urandom), SECRET)
    assert isinstance(
        both.receive(body, signed(body, new_secret(os.urandom), SECRET)), WebhookEvent
    )


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_missing_is_named(name: str):
    body = encoded(EVENT)
    headers = signed(body)
    del headers[name]
    assert f"the header {name} is missing" in str(refused(body, headers))


@pytest.mark.parametrize("timestamp", ["", "now", "1.5", "-1", "nan", "9" * 13, "\u0661"])
def test_what_is_no_time_is_refused(timestamp: str):
    body = encoded(EVENT)
    assert refused(body, signed(body, **{"webhook-timestamp": timestamp})).status == 400


@pytest.mark.parametrize("age_s", [301, -302])
def test_what_is_sent_again_later_is_refused(age_s: float):
    body = encoded(EVENT)
    told = str(refused(body, signed(body, age_s=age_s)))
    assert "s old" in told if age_s > 0 else "ahead of this clock" in told


@pytest.mark.parametrize("secret", [SECRET, PUBLIC_KEY], ids=["hmac", "ed25519"])
@pytest.mark.parametrize(
    "signature", ["x", "v1", "v1,", "v1,?", "v1a,", "v1a,AAAA", ",,,", " ", "v1,ü", "v2,AAAA"]
)
def test_what_is_no_signature_is_refused_and_nothing_else_happens(signature: str, secret: str):
    body = encoded(EVENT)
    headers = signed(body, **{"webhook-signature": signature})
    assert "webhook-signature" in str(refused(body, headers, secret))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"type":"post.created"}', b'{"type":"ping"}', b"\xff", b"null"]
)
def test_what_is_signed_and_no_webhook_is_told(body: bytes):
    error = refused(body, signed(body, SIGNING_KEY), PUBLIC_KEY)
    assert (error.status, str(error).startswith("signed, but")) == (422, True)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ü", "whpk_", "whpk_AAAA", "whpk_?"])
def test_what_is_no_secret_is_refused_at_once_and_not_shown(secret: str):
    with pytest.raises(ValueError, match=r"this (secret|public key) is not"):
        Receiver(secret)


def test_without_a_secret_nothing_can_be_checked():
    with pytest.raises(ValueError, match="give the endpoint's secret"):
        Receiver()


@pytest.mark.parametrize(
    ("secret", "module", "extra"),
    [
        (SECRET, "standardwebhooks", "webhooks"),
        (PUBLIC_KEY, "cryptography.hazmat.primitives.asymmetric.ed25519", "ed25519"),
    ],
    ids=["hmac", "ed25519"],
)
def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, secret: str, module: str, extra: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"moments-client\[{extra}\]"):
        Receiver(secret)

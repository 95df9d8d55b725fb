"""What an endpoint's requests look like, and what a target keeps between them."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app import __version__
from app.clock import now_ms
from app.domain.breaker import EndpointState, Health
from app.domain.post import EventKind
from app.domain.signature import Ed25519Signer, new_signing_key, verify
from app.errors import BadSecret, UrlRejected
from app.store.endpoints import Endpoint
from app.store.vault import Secret
from workers.target import Target

OLD = "whsec_" + "b2xk" * 8
NEW = "whsec_" + "bmV3" * 8
BODY = b'{"type":"post.created"}'


def endpoint(**changes: Any) -> Endpoint:
    plain = Endpoint(
        id="0000000100",
        user="bob",
        url="https://example.com:8443/hook?a=b",
        types=("*",),
        method="POST",
        headers={},
        rate_per_s=None,
        retry_schedule_s=None,
        description=None,
        secrets=(Secret(OLD),),
        state="active",
        disabled_reason=None,
        created_at_ms=1,
        last_success_at_ms=None,
        consecutive_failures=0,
        first_failure_at_ms=None,
        failure_days=(),
        open_until_ms=None,
    )
    return replace(plain, **changes)


def request(
    target: Target, kind: EventKind = EventKind.CREATED, body: bytes = BODY, at_ms: int = 0
) -> tuple[str, dict[str, str], bytes]:
    """Request line, headers and body."""
    _, head, sent = target.request(kind, b"p-1-0-e", 3, body, at_ms or now_ms())
    line, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    return line, dict(field.split(": ", 1) for field in lines), sent


def verifies(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_the_keys_of_an_endpoint_sign_as_long_as_they_live():
    old, new = (new_signing_key(lambda size, byte=byte: byte * size) for byte in (b"o", b"n"))
    at_ms = now_ms()
    secrets = (Secret(new), Secret(old, at_ms + 1_000))
    target = Target(endpoint(secrets=secrets, signing="ed25519"), at_ms, ())
    for later_ms, expected in ((0, [True, True]), (1_000, [True, False])):
        _, headers, body = request(target, at_ms=at_ms + later_ms)
        keys = [Ed25519Signer(key).public_key for key in (new, old)]
        assert [bool(verify(key, headers, body, at_ms / 1000)) for key in keys] == expected


def test_a_request_has_the_headers_of_the_scheme_and_those_of_the_endpoint():
    target = Target(endpoint(headers={"x-tenant": "7"}), 0, ())
    line, headers, body = request(target, at_ms=1_700_000_000_999)
    assert line == "POST /hook?a=b HTTP/1.1"
    assert headers.pop("webhook-signature").startswith("v1,")
    assert headers == {
        "host": "example.com:8443",
        "user-agent": f"moments/{__version__}",
        "accept-encoding": "identity",
        "x-tenant": "7",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "webhook-id": "p-1-0-e",
        "webhook-timestamp": "1700000000",
        "moments-attempt": "3",
    }
    assert body == BODY


@pytest.mark.parametrize(
    ("kind", "verb"),
    [(EventKind.CREATED, "POST"), (EventKind.UPDATED, "PUT"), (EventKind.DELETED, "DELETE")],
)
def test_a_rest_endpoint_gets_each_kind_of_event_by_its_method(kind: EventKind, verb: str):
    line, headers, body = request(Target(endpoint(method="rest"), 0, ()), kind)
    assert line == f"{verb} /hook?a=b HTTP/1.1"
    assert headers["content-length"] == str(len(body))
    assert verifies(OLD, headers, body)


@pytest.mark.parametrize(
    ("url", "start"), [("http://example.com/hook?a=b", "a=b&"), ("http://example.com/hook", "")]
)
def test_a_get_endpoint_gets_everything_in_the_query_and_the_signature_is_of_that(
    url: str, start: str
):
    target = Target(endpoint(method="GET", url=url), 0, ())
    assert target.takes_query
    line, headers, body = request(target, body=b"type=post.created&data=%7B%7D")
    verb, path, _ = line.split(" ")
    query = path.partition("?")[2]
    assert (verb, body) == ("GET", b"")
    assert query.startswith(start)
    assert parse_qs(query)["data"] == ["{}"]
    assert "content-length" not in headers
    assert verify(OLD, headers, query.encode(), now_ms() / 1000)


def test_both_secrets_sign_until_the_overlap_ends():
    at_ms = now_ms()
    overlap = (Secret(NEW), Secret(OLD, at_ms + 5_000))
    target = Target(endpoint(secrets=overlap), at_ms, ())
    _, headers, body = request(target, at_ms=at_ms)
    assert verifies(OLD, headers, body)
    assert verifies(NEW, headers, body)
    _, headers, body = request(target, at_ms=at_ms + 5_000)
    assert not verifies(OLD, headers, body)
    assert verifies(NEW, headers, body)


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"url": "ftp://example.com/"}, UrlRejected), ({"secrets": ()}, BadSecret)],
)
def test_what_cannot_be_loaded_leaves_a_target_as_it_was(changes: Any, error: type[Exception]):
    target = Target(endpoint(), 0, ())
    with pytest.raises(error):
        target.load(endpoint(rate_per_s=1.0, headers={"x-a": "b"}, **changes), 0, ())
    line, headers, body = request(target)
    assert line == "POST /hook?a=b HTTP/1.1"
    assert "x-a" not in headers
    assert target.rate_per_s is None
    assert verifies(OLD, headers, body)


def test_a_pause_goes_on_when_an_endpoint_is_loaded_again_for_it_is_not_stored():
    target = Target(endpoint(), 0, ())
    target.health = Health(paused_until_ms=99, pause_s=2.0)
    target.load(endpoint(consecutive_failures=3), 0, ())
    assert target.health == Health(paused_until_ms=99, pause_s=2.0, consecutive_failures=3)


def test_health_that_is_not_written_yet_is_newer_than_the_store_s():
    target = Target(endpoint(), 0, ())
    target.health = Health(state=EndpointState.OPEN, open_until_ms=99)
    target.is_unwritten = True
    target.load(endpoint(url="https://example.org/"), 0, ())
    assert target.health.state is EndpointState.OPEN
    assert target.host == "example.org"
    target.is_unwritten = False
    target.load(endpoint(), 0, ())
    assert target.health.state is EndpointState.ACTIVE


def test_but_not_than_the_store_s_word_that_another_address_is_to_be_verified():
    target = Target(endpoint(), 0, ())
    target.health = Health(consecutive_failures=3)
    target.is_unwritten = True
    target.load(endpoint(url="https://example.org/", state="unverified"), 0, ())
    assert (target.health.state, target.host) == (EndpointState.UNVERIFIED, "example.org")
    target.load(endpoint(url="https://example.org/"), 0, ())
    assert target.health == Health()

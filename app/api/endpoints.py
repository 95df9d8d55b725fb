"""Endpoints: making and changing webhook addresses, their secrets, pings and attempt logs."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.deliveries import show_attempt
from app.api.pages import in_order, newest_first
from app.api.problems import CONFLICT, Problem, invalid, not_found
from app.api.schemas import endpoints as schemas
from app.api.schemas.deliveries import Attempts, Scheduled
from app.api.schemas.endpoints import DEFAULT_TYPES, EndpointChange, NewEndpoint, Recovery, Rotation
from app.api.schemas.fields import Nothing, Page
from app.api.services import Limits, Services
from app.clock import now_ms
from app.domain.address import parse_url
from app.domain.signature import (
    SECRET_PREFIX,
    Ed25519Signer,
    Signing,
    decode_secret,
    new_secret,
    new_signing_key,
)
from app.errors import (
    BadSecret,
    Blocked,
    EndpointUnverified,
    NoSender,
    Unresolved,
    UrlRejected,
)
from app.store.endpoints import Endpoint
from app.wire import AttemptEntry, rfc3339

_MASK = "***"
# What null in a change brings back, where the store would not know it by itself.
_DEFAULTS: dict[str, Any] = {"types": tuple(DEFAULT_TYPES), "method": "POST", "headers": {}}


async def create(ask: Ask[Nothing, NewEndpoint]) -> Answer:
    """Makes an endpoint: events of a user are sent to this address from now on, or, when it has to
    be verified, once it has echoed a challenge."""
    body, services = ask.body, ask.services
    secret = _made_secret(body.signing) if body.secret is None else _checked_secret(body)
    _check_schedule(body.retry_schedule_s, services.limits)
    endpoint = await services.endpoints.create(
        user=body.user,
        url=await _vetted(body.url, services),
        types=tuple(body.types),
        method=body.method,
        headers=body.headers,
        rate_per_s=body.rate_per_s,
        retry_schedule_s=_schedule(body.retry_schedule_s),
        description=body.description,
        secret=secret,
        now_ms=now_ms(),
        verify=_verifies(ask),
    )
    return model_answer(201, _with_secret(endpoint))


async def read(ask: Ask[Nothing, Nothing]) -> Answer:
    """An endpoint with its options and its health."""
    return _answer(ask, await ask.services.endpoints.get(ask.path["endpoint"]))


async def of_user(ask: Ask[Page, Nothing]) -> Answer:
    """A user's endpoints."""
    found = await ask.services.endpoints.of_user(ask.path["user"])
    items, next_ = in_order(sorted(found, key=_place), ask.query, _place)
    shown = [show(endpoint, with_headers=ask.caller.is_admin) for endpoint in items]
    return model_answer(200, schemas.Endpoints(items=shown, next=next_))


async def change(ask: Ask[Nothing, EndpointChange]) -> Answer:
    """Changes the options that are named, and no other. Another url may have to be verified."""
    endpoints, id_ = ask.services.endpoints, ask.path["endpoint"]
    unchanged = await endpoints.get(id_)
    if unchanged is None:
        raise not_found("endpoint")
    changes = await _changes(ask.body, ask.services)
    if changes:
        return _answer(ask, await endpoints.change(id_, changes, verify=_verifies(ask)))
    return _answer(ask, unchanged)


async def delete(ask: Ask[Nothing, Nothing]) -> Answer:
    """Deletes an endpoint; nothing more is sent to it."""
    if not await ask.services.endpoints.delete(ask.path["endpoint"]):
        raise not_found("endpoint")
    return Answer(204)


async def rotate(ask: Ask[Nothing, Rotation]) -> Answer:
    """Makes a new secret; those before it go on signing beside it for a while."""
    endpoints, id_ = ask.services.endpoints, ask.path["endpoint"]
    endpoint = await endpoints.get(id_)
    if endpoint is not None:
        secret = _made_secret(endpoint.signing)
        endpoint = await endpoints.rotate(id_, secret, ask.body.overlap_s, now_ms())
    if endpoint is None:
        raise not_found("endpoint")
    return model_answer(200, _with_secret(endpoint))


async def enable(ask: Ask[Nothing, Nothing]) -> Answer:
    """Makes an endpoint active again, with a clean record."""
    return _answer(ask, await ask.services.endpoints.enable(ask.path["endpoint"]))


async def ping(ask: Ask[Nothing, Nothing]) -> Answer:
    """Has a webhook sent now by whoever owns the endpoint, and answers with what came of it."""
    services, endpoint = ask.services, await _sent_to(ask)
    if endpoint.state == "unverified":
        raise EndpointUnverified("this endpoint has to echo a challenge first: ask for :verify")
    attempt = await services.endpoints.ping(endpoint.id, services.limits.ping_timeout_s)
    return model_answer(200, show_attempt(attempt))


async def verify(ask: Ask[Nothing, Nothing]) -> Answer:
    """Has a challenge sent now to an endpoint that is unverified, and answers with what came of it:
    without an error it is verified."""
    services, endpoint = ask.services, await _sent_to(ask)
    if endpoint.state != "unverified":
        raise Problem(CONFLICT, "This endpoint has no challenge to echo: it is sent to already.")
    attempt = await services.endpoints.challenge(endpoint.id, services.limits.ping_timeout_s)
    return model_answer(200, show_attempt(attempt))


async def _sent_to(ask: Ask[Nothing, Nothing]) -> Endpoint:
    """The endpoint, if a worker can send something to it now."""
    endpoints, id_ = ask.services.endpoints, ask.path["endpoint"]
    endpoint = await endpoints.get(id_)
    if endpoint is None:
        raise not_found("endpoint")
    if not await endpoints.has_sender(id_):
        raise NoSender("no worker sends to this endpoint now: is one running?")
    return endpoint


def waits_s(ask: Ask[Nothing, Nothing]) -> float:
    """How long a ping or a challenge may be under way."""
    return ask.services.limits.ping_timeout_s


async def recover(ask: Ask[Nothing, Recovery]) -> Answer:
    """Sends everything again that an endpoint did not get in a time, spread out."""
    services, id_, body = ask.services, ask.path["endpoint"], ask.body
    now = now_ms()
    until_ms = now if body.until is None else body.until
    if body.since >= until_ms:
        raise invalid("since", "must be before now, or before `until`")
    await _check_exists(services, id_)
    scheduled = await services.ledger.recover(
        id_, body.since, until_ms, now, services.limits.drain_gap_ms
    )
    return model_answer(202, Scheduled(scheduled=scheduled))


async def attempts(ask: Ask[Page, Nothing]) -> Answer:
    """What was tried at an endpoint, the newest first."""
    services, id_ = ask.services, ask.path["endpoint"]
    await _check_exists(services, id_)
    found = await services.endpoints.attempts(id_)
    entries, next_ = newest_first(found, ask.query, _name)
    items = [show_attempt(entry) for entry in entries]
    return model_answer(200, Attempts(items=items, next=next_))


def _verifies(ask: Ask[Any, Any]) -> bool:
    """Whether an address has to echo a challenge when this caller gives it."""
    return ask.services.limits.verify_endpoints or ask.caller.verify_endpoints


def _place(endpoint: Endpoint) -> str:
    return f"{endpoint.created_at_ms:015}.{endpoint.id}"


def _name(entry: AttemptEntry) -> str:
    return f"{entry.at_ms}.{entry.attempt}.{entry.delivery}"


def show(endpoint: Endpoint, *, with_headers: bool) -> schemas.Endpoint:
    return schemas.Endpoint(**_fields(endpoint, with_headers))


def _with_secret(endpoint: Endpoint) -> schemas.FullEndpoint:
    secret = endpoint.secrets[0].value if endpoint.signing == "hmac" else None
    return schemas.FullEndpoint(**_fields(endpoint, True), secret=secret)


def _public_key(endpoint: Endpoint) -> str | None:
    """None for a shared secret, and for a key that does not open."""
    if endpoint.signing == "hmac" or not endpoint.secrets:
        return None
    return Ed25519Signer(endpoint.secrets[0].value).public_key


def _fields(endpoint: Endpoint, with_headers: bool) -> dict[str, Any]:
    headers = dict(endpoint.headers or {})
    schedule = endpoint.retry_schedule_s
    return {
        "id": endpoint.id,
        "user": endpoint.user,
        "url": endpoint.url,
        "types": list(endpoint.types),
        "method": endpoint.method,
        "headers": headers if with_headers else dict.fromkeys(headers, _MASK),
        "rate_per_s": endpoint.rate_per_s,
        "retry_schedule_s": None if schedule is None else list(schedule),
        "description": endpoint.description,
        "state": endpoint.state,
        "disabled_reason": endpoint.disabled_reason,
        "created_at": rfc3339(endpoint.created_at_ms),
        "last_success_at": _time(endpoint.last_success_at_ms),
        "consecutive_failures": endpoint.consecutive_failures,
        "first_failure_at": _time(endpoint.first_failure_at_ms),
        "open_until": _time(endpoint.open_until_ms),
        "signing": endpoint.signing,
        "public_key": _public_key(endpoint),
        "verification": _verification(endpoint),
    }


def _verification(endpoint: Endpoint) -> schemas.Verification | None:
    found = endpoint.verification
    if found is None:
        return None
    return schemas.Verification(
        challenges=found.challenges, last_error=found.last_error, next_at=_time(found.next_at_ms)
    )


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


def _answer(ask: Ask[Any, Any], endpoint: Endpoint | None) -> Answer:
    if endpoint is None:
        raise not_found("endpoint")
    return model_answer(200, show(endpoint, with_headers=ask.caller.is_admin))


async def _check_exists(services: Services, id_: str) -> None:
    if await services.endpoints.get(id_) is None:
        raise not_found("endpoint")


async def _changes(body: EndpointChange, services: Services) -> Mapping[str, Any]:
    changes: dict[str, Any] = {}
    for name in body.model_fields_set:
        value = getattr(body, name)
        changes[name] = _DEFAULTS.get(name) if value is None else value
    _check_schedule(body.retry_schedule_s, services.limits)
    if "url" in changes:
        changes["url"] = await _vetted(body.url, services)
    return changes


async def _vetted(text: str, services: Services) -> str:
    """The URL, if webhooks may go there. It is judged again for every connection.

    A name without an address may get one later, and so may one whose servers do not answer now.
    """
    with suppress(Unresolved, TimeoutError):
        try:
            url = parse_url(text, allow_ports=services.limits.allow_ports)
            async with asyncio.timeout(services.limits.lookup_timeout_s):
                await services.guard.vet(url)
        except (UrlRejected, Blocked) as error:
            raise invalid("url", str(error)) from None
    return text


def _made_secret(signing: Signing) -> str:
    return new_secret(os.urandom) if signing == "hmac" else new_signing_key(os.urandom)


def _checked_secret(body: NewEndpoint) -> str:
    secret = body.secret or ""
    if body.signing != "hmac":
        raise invalid("secret", f"cannot be brought along for {body.signing}: leave it out")
    if not secret.startswith(SECRET_PREFIX):
        raise invalid("secret", f"must begin with {SECRET_PREFIX}")
    try:
        decode_secret(secret)
    except BadSecret as error:
        raise invalid("secret", str(error)) from None
    return secret


def _check_schedule(schedule: list[float] | None, limits: Limits) -> None:
    """A retry after a post's retention would find nothing to send."""
    if schedule is not None and sum(schedule) > limits.retention_s:
        raise invalid("retry_schedule_s", f"must come to {limits.retention_s} s at most in all")


def _schedule(delays: list[float] | None) -> tuple[float, ...] | None:
    return None if delays is None else tuple(delays)

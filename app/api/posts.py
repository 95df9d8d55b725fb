"""Posts: accepting, reading, editing and taking them back."""

import re

from app.api.answers import JSON, Answer, Header
from app.api.call import Ask
from app.api.problems import invalid, not_found
from app.api.schemas.fields import Nothing
from app.api.schemas.posts import Audience, NewPost, PostEdit
from app.api.strict_json import compact
from app.clock import now_ms
from app.domain import post as domain
from app.errors import BacklogFull
from app.wire import encode_json, post_fields, rfc3339

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_EVERYBODY = domain.Audience()
_REPLAYED: tuple[Header, ...] = ((b"idempotency-replayed", b"true"),)


async def accept(ask: Ask[Nothing, NewPost]) -> Answer:
    """Accepts a post; it is pushed to everybody in its author's audience.

    That is friends and followers, without who blocks or is blocked, narrowed by `audience`. What is
    answered with 202 will be fanned out, whatever process dies in between.
    """
    body = ask.body
    services = ask.services
    idempotency = _idempotency_key(ask.headers.get(b"idempotency-key"))
    services.rates.spend_of_author(body.author)
    try:
        accepted = await services.posts.accept(
            body.author,
            body.type,
            compact(body.data),
            _audience(body.audience),
            idempotency=idempotency,
            now_ms=now_ms(),
        )
    except BacklogFull:
        services.stats.refused += 1
        raise
    services.stats.accepted += 1
    return _answer(202, accepted.post, _REPLAYED if accepted.replayed else ())


async def read(ask: Ask[Nothing, Nothing]) -> Answer:
    """A post as it is now. One that was taken back has `deleted`, and no data."""
    post = await ask.services.posts.get(ask.path["post"])
    if post is None:
        raise not_found("post")
    return _answer(200, post)


async def edit(ask: Ask[Nothing, PostEdit]) -> Answer:
    """Gives a post new data; whoever got the post is told."""
    data = compact(ask.body.data)
    return _answer(202, await ask.services.posts.edit(ask.path["post"], data, now_ms()))


async def delete(ask: Ask[Nothing, Nothing]) -> Answer:
    """Takes a post back: what is still pending is cancelled, whoever got it is told."""
    return _answer(202, await ask.services.posts.delete(ask.path["post"], now_ms()))


def _audience(cut: Audience | None) -> domain.Audience:
    if cut is None:
        return _EVERYBODY
    only = None if cut.only is None else frozenset(cut.only)
    return domain.Audience(only, frozenset(cut.excepted or ()))


def _idempotency_key(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    key = raw.decode("latin-1")
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return key


def _answer(status: int, post: domain.Post, headers: tuple[Header, ...] = ()) -> Answer:
    """A post as it is pushed, and when it last changed."""
    fields = post_fields(post)
    fields["updated_at"] = rfc3339(post.updated_at_ms)
    body = b'%b,"data":%b}' % (encode_json(fields)[:-1], post.data or b"null")
    return Answer(status, body, JSON, headers)

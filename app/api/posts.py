"""Posts: accepting, reading, editing and taking them back."""

import re

from app.api.accepted import Change, audience_kind, changes
from app.api.answers import JSON, Answer, Header, model_answer
from app.api.call import Ask
from app.api.problems import invalid, not_found
from app.api.schemas import posts as schemas
from app.api.schemas.fields import Nothing
from app.api.schemas.posts import Audience, NewPost, PostEdit, PostPage
from app.api.strict_json import compact
from app.clock import now_ms
from app.domain import post as domain
from app.errors import BacklogFull
from app.store.newest import newest_posts
from app.wire import encode_json, post_fields, rfc3339

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_EVERYBODY = domain.Audience()
_REPLAYED: tuple[Header, ...] = ((b"idempotency-replayed", b"true"),)


@changes("POST", "/v1/posts")
async def accept(ask: Ask[Nothing, NewPost], change: Change) -> Answer:
    """Accepts a post; it is pushed to everybody in its author's audience.

    That is friends and followers, without who blocks or is blocked, narrowed by `audience`. What is
    answered with 202 will be fanned out, whatever process dies in between.
    """
    body = ask.body
    services = ask.services
    idempotency = _idempotency_key(ask.headers.get(b"idempotency-key"))
    services.rates.spend_of_author(body.author)
    audience = _audience(body.audience)
    try:
        accepted = await services.posts.accept(
            body.author,
            body.type,
            compact(body.data),
            audience,
            idempotency=idempotency,
            now_ms=now_ms(),
            traceparent=change.traceparent,
        )
    except BacklogFull:
        services.stats.refused += 1
        raise
    services.stats.accepted += 1
    change.tell(
        "post accepted",
        accepted.post,
        audience=audience_kind(audience),
        idempotent=idempotency is not None,
        replayed=accepted.replayed,
    )
    return _answer(202, accepted.post, _REPLAYED if accepted.replayed else ())


async def newest(ask: Ask[PostPage, Nothing]) -> Answer:
    """The newest posts of all authors, without their data."""
    services, query = ask.services, ask.query
    found, next_ = await newest_posts(services.store, services.shards, query.after, query.limit)
    return model_answer(200, schemas.Posts(items=[_head(post) for post in found], next=next_))


async def read(ask: Ask[Nothing, Nothing]) -> Answer:
    """A post as it is now. One that was taken back has `deleted`, and no data."""
    post = await ask.services.posts.get(ask.path["post"])
    if post is None:
        raise not_found("post")
    return _answer(200, post)


@changes("PATCH", "/v1/posts/{post}")
async def edit(ask: Ask[Nothing, PostEdit], change: Change) -> Answer:
    """Gives a post new data; whoever got the post is told."""
    data = compact(ask.body.data)
    posts = ask.services.posts
    post = await posts.edit(ask.path["post"], data, now_ms(), traceparent=change.traceparent)
    change.tell("edit accepted", post)
    return _answer(202, post)


@changes("DELETE", "/v1/posts/{post}")
async def delete(ask: Ask[Nothing, Nothing], change: Change) -> Answer:
    """Takes a post back: what is still pending is cancelled, whoever got it is told."""
    posts = ask.services.posts
    post = await posts.delete(ask.path["post"], now_ms(), traceparent=change.traceparent)
    change.tell("deletion accepted", post)
    return _answer(202, post)


def _head(post: domain.Post) -> schemas.PostHead:
    return schemas.PostHead(
        id=post.id,
        author=post.author,
        type=post.type,
        version=post.version,
        created_at=rfc3339(post.created_at_ms),
        updated_at=rfc3339(post.updated_at_ms),
        deleted=True if post.deleted else None,
    )


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

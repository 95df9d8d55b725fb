"""Posts are accepted once, edited once, deleted for good; what is waiting is bounded."""

import pytest

from app.domain.ids import posted_at_ms, shard_of_id
from app.domain.post import Audience, Event, EventKind
from app.domain.shard import shard_of
from app.errors import (
    BacklogFull,
    IdempotencyMismatch,
    PostDeleted,
    PostNotFound,
    TooManyVersions,
)
from app.store import keys, posts
from app.store.client import Store
from app.store.posts import Accepted, Posts, Progress
from app.wire import decode_audience, decode_event, stream_fields
from tests.store.service import ANYBODY, NOW_MS, RETENTION_S, SHARDS, Service

NOBODY = "01k2v3w4x5y6z7a800"  # the id of a post that is not there, of shard 0


def posts_on(store: Store, **limits: int) -> Posts:
    return Service.on(store, **limits).posts


async def accept(
    posts: Posts,
    author: str = "ann",
    data: bytes = b'{"n":1}',
    audience: Audience = ANYBODY,
    idempotency: str | None = None,
    now_ms: int = NOW_MS,
) -> Accepted:
    return await posts.accept(
        author, "post", data, audience, idempotency=idempotency, now_ms=now_ms
    )


async def events(store: Store, author: str = "ann") -> list[Event]:
    found = await store.execute("XRANGE", keys.posts(shard_of(author, SHARDS)), "-", "+")
    fields = [stream_fields(raw) for _, raw in found]
    assert all(entry[b"a"] == author.encode() for entry in fields)
    return [decode_event(entry[b"e"]) for entry in fields]


async def test_an_accepted_post_is_stored_and_on_its_authors_stream(store: Store) -> None:
    posts = posts_on(store)
    accepted = await accept(posts)
    post = accepted.post
    assert not accepted.replayed
    assert await posts.get(post.id) == post
    assert (post.author, post.type, post.version, post.data) == ("ann", "post", 1, b'{"n":1}')
    assert post.created_at_ms == post.updated_at_ms == posted_at_ms(post.id) == NOW_MS
    assert shard_of_id(post.id) == shard_of("ann", SHARDS)
    assert await events(store) == [Event(post.id, 1, EventKind.CREATED)]
    ttl_s = await store.execute("TTL", keys.post(shard_of_id(post.id), post.id))
    assert RETENTION_S - 5 <= ttl_s <= RETENTION_S


async def test_the_audience_is_kept_with_the_post(store: Store) -> None:
    posts = posts_on(store)
    for audience in (Audience(only=frozenset("ab")), Audience(excepted=frozenset("c")), ANYBODY):
        post = (await accept(posts, audience=audience)).post
        raw = await store.execute("HGET", keys.post(shard_of_id(post.id), post.id), "audience")
        assert decode_audience(raw or b"") == audience


async def test_a_repeated_key_makes_no_second_post(store: Store) -> None:
    posts = posts_on(store)
    first = await accept(posts, idempotency="k")
    again = await accept(posts, idempotency="k", now_ms=NOW_MS + 5_000)
    assert again == Accepted(first.post, True)
    assert len(await events(store)) == 1


async def test_a_repeated_key_gives_the_first_answer_after_an_edit_and_a_deletion(
    store: Store,
) -> None:
    posts = posts_on(store)
    first = await accept(posts, idempotency="k")
    await posts.edit(first.post.id, b"{}", NOW_MS + 1)
    assert (await accept(posts, idempotency="k")).post == first.post
    await posts.delete(first.post.id, NOW_MS + 2)
    assert (await accept(posts, idempotency="k")).post == first.post


@pytest.mark.parametrize(
    "change",
    [{"data": b'{"n":2}'}, {"audience": Audience(only=frozenset("a"))}],
)
async def test_a_key_with_another_request_is_refused_and_makes_nothing(
    store: Store, change: dict[str, object]
) -> None:
    posts = posts_on(store)
    first = await accept(posts, idempotency="k")
    with pytest.raises(IdempotencyMismatch):
        await accept(posts, idempotency="k", **change)
    assert await events(store) == [Event(first.post.id, 1, EventKind.CREATED)]
    assert (await accept(posts, idempotency="k")).replayed


async def test_a_key_belongs_to_its_author_and_ends_in_time(store: Store) -> None:
    posts = posts_on(store)
    mine = await accept(posts, "ann", idempotency="k")
    theirs = await accept(posts, "bob", idempotency="k")
    assert mine.post.id != theirs.post.id
    (name,) = [
        name for names in await store.broadcast("KEYS", "idempotency:*:ann:*") for name in names
    ]
    assert 590 <= await store.execute("TTL", name) <= 600


async def test_a_full_backlog_refuses_and_keeps_nothing(store: Store) -> None:
    posts = posts_on(store, backlog_max=2)
    await accept(posts)
    post = (await accept(posts)).post
    with pytest.raises(BacklogFull, match="2 posts"):
        await accept(posts, idempotency="k")
    with pytest.raises(BacklogFull):
        await posts.edit(post.id, b"{}", NOW_MS)
    assert len(await events(store)) == 2
    await posts.delete(post.id, NOW_MS)  # an author can always take a post back
    assert (await events(store))[-1].kind is EventKind.DELETED
    await store.execute("XTRIM", keys.posts(shard_of("ann", SHARDS)), "MAXLEN", 0)
    assert not (await accept(posts, idempotency="k")).replayed


async def test_a_post_accepted_again_because_the_answer_was_lost_is_one_post(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts.secrets, "randbits", lambda bits: 7)
    first = await accept(posts_on(store))
    assert await accept(posts_on(store)) == first
    assert len(await events(store)) == 1


async def test_an_id_that_is_taken_is_not_given_out_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([7, 7, 8])
    monkeypatch.setattr(posts.secrets, "randbits", lambda bits: next(draws))
    first = await accept(posts_on(store))
    second = await accept(posts_on(store), data=b'{"n":2}')
    assert first.post.id != second.post.id
    assert await posts_on(store).get(first.post.id) == first.post


async def test_an_edit_makes_the_next_version(store: Store) -> None:
    posts = posts_on(store)
    post = (await accept(posts)).post
    edited = await posts.edit(post.id, b'{"n":2}', NOW_MS + 10)
    assert (edited.version, edited.data, edited.updated_at_ms) == (2, b'{"n":2}', NOW_MS + 10)
    assert await posts.get(post.id) == edited
    assert (await events(store))[-1] == Event(post.id, 2, EventKind.UPDATED)


async def test_a_deleted_post_has_no_data_and_takes_no_edit(store: Store) -> None:
    posts = posts_on(store)
    post = (await accept(posts)).post
    deleted = await posts.delete(post.id, NOW_MS + 10)
    assert (deleted.version, deleted.data, deleted.deleted) == (2, b"", True)
    assert await posts.get(post.id) == deleted
    with pytest.raises(PostDeleted):
        await posts.edit(post.id, b"{}", NOW_MS)
    assert await posts.delete(post.id, NOW_MS + 20) == deleted
    assert len(await events(store)) == 2


async def test_versions_are_bounded_but_a_deletion_is_always_let_through(store: Store) -> None:
    posts = posts_on(store, versions_max=3)
    post = (await accept(posts)).post
    for _ in range(2):
        await posts.edit(post.id, b"{}", NOW_MS)
    with pytest.raises(TooManyVersions, match="3 versions"):
        await posts.edit(post.id, b"{}", NOW_MS)
    assert (await posts.delete(post.id, NOW_MS)).version == 4


@pytest.mark.parametrize("kind", ["u", "d"])
async def test_a_change_sent_again_because_the_answer_was_lost_is_one_change(
    store: Store, kind: str
) -> None:
    posts = posts_on(store)
    post = (await accept(posts)).post
    shard = shard_of_id(post.id)

    async def change(request: str) -> tuple[int, list[bytes]]:
        named = [keys.post(shard, post.id), keys.posts(shard)]
        args = [kind, post.id, "{}", 9, 9, NOW_MS, request]
        _, version, *rest = await store.call("change_post", named, args)
        return int(version), rest

    first = await change("a")
    assert await change("a") == first
    assert [event.version for event in await events(store)] == [1, 2]
    if kind == "u":
        assert (await change("b"))[0] == 3  # another one, though it says the same


@pytest.mark.parametrize("id_", [NOBODY, "01k2v3w4x5y6z7a8zz", "none", ""])
async def test_what_is_not_there_cannot_be_changed_or_read(store: Store, id_: str) -> None:
    posts = posts_on(store)
    assert await posts.get(id_) is None
    assert await posts.progress(id_) is None
    with pytest.raises(PostNotFound):
        await posts.edit(id_, b"{}", NOW_MS)
    with pytest.raises(PostNotFound):
        await posts.delete(id_, NOW_MS)


async def test_many_posts_are_read_at_once(store: Store) -> None:
    posts = posts_on(store)
    made = [(await accept(posts, author)).post for author in ("ann", "bob", "eve")]
    wanted = [*(post.id for post in made), NOBODY, "none"]
    assert await posts.get_many(wanted) == {post.id: post for post in made}


async def test_progress_tells_slices_begun_and_whether_the_newest_version_is_through(
    store: Store,
) -> None:
    posts = posts_on(store)
    post = (await accept(posts)).post
    key = keys.post(shard_of_id(post.id), post.id)
    assert await posts.progress(post.id) == Progress(False, 0, 1)
    await store.execute("HSET", key, "fanned:1", "2 from to")
    assert await posts.progress(post.id) == Progress(False, 3, 1)
    await store.execute("HSET", key, "fanned:1", "done", "slices", 4)
    assert await posts.progress(post.id) == Progress(True, 4, 1)
    await posts.edit(post.id, b"{}", NOW_MS)
    assert await posts.progress(post.id) == Progress(False, 4, 2)
    await store.execute("HSET", key, "fanned:2", "done")
    assert await posts.progress(post.id) == Progress(True, 4, 2)

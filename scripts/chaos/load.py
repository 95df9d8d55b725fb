"""What goes in: posts, edits and deletions of many authors, the calls of each one by one."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.clock import now_ms
from scripts.chaos.caller import Caller, CallRefused
from scripts.chaos.cast import Cast

TYPES = ("post", "post", "commit")
EDITS = 0.2  # of all calls
DELETIONS = 0.08
RECENT = 20  # posts of an author that may be edited or deleted
# A post that is deleted sooner may be gone before it was ever fanned out, rightly.
DELETED_AFTER_MS = 1_500
CUT_SHARE = 0.15  # of posts, that are not for everybody


@dataclass(slots=True)
class Written:
    """A post that was accepted: what its author knows of it. Times are Unix milliseconds.

    `number` is its place among the author's posts. `asked_ms` is when it was sent first,
    `accepted_ms` when the answer came. `version` is the highest that was answered.
    """

    id: str
    author: str
    type: str
    audience: frozenset[str]
    number: int
    asked_ms: int
    accepted_ms: int
    data: dict[str, Any]
    version: int = 1
    delete_asked_ms: int | None = None
    tries: int = 1

    @property
    def is_deleted(self) -> bool:
        return self.delete_asked_ms is not None


@dataclass(slots=True)
class Author:
    name: str
    posts: list[Written] = field(default_factory=list[Written])

    def recent(self) -> list[Written]:
        return [post for post in self.posts[-RECENT:] if not post.is_deleted]


class Load:
    """Runs until told to stop; then every call that was begun is brought to its end."""

    def __init__(
        self, caller: Caller, cast: Cast, random: random.Random, *, calls_per_s: float
    ) -> None:
        self.authors = [Author(name) for name in cast.authors]
        self.complaints: list[str] = []
        self.edits = 0
        self.deletions = 0
        self._caller = caller
        self._audiences = cast.audiences
        self._gap_s = len(self.authors) / calls_per_s
        self._seed = random.random()

    @property
    def posts(self) -> list[Written]:
        return [post for author in self.authors for post in author.posts]

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for author in self.authors:
                chance = random.Random(f"{self._seed} {author.name}")
                tasks.create_task(self._write(author, chance, stop), name=author.name)

    async def _write(self, author: Author, chance: random.Random, stop: asyncio.Event) -> None:
        while True:
            pause_s = chance.expovariate(1 / self._gap_s)
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
                return
            except TimeoutError:
                await self._step(author, chance)

    async def _step(self, author: Author, chance: random.Random) -> None:
        dice = chance.random()
        step: Callable[[Author, random.Random], Any] = self._create
        if dice < DELETIONS:
            step = self._delete
        elif dice < DELETIONS + EDITS:
            step = self._edit
        try:
            await step(author, chance)
        except CallRefused as refused:
            self.complaints.append(str(refused))

    async def _create(self, author: Author, chance: random.Random) -> None:
        number = len(author.posts)
        type_ = chance.choice(TYPES)
        audience, cut = self._audience(author.name, chance)
        data = {"n": number, "text": f"number {number} of {author.name}"}
        body = {"author": author.name, "type": type_, "data": data, **cut}
        asked_ms = now_ms()
        key = {"Idempotency-Key": f"{author.name}-{number}"}
        answer = await self._caller.call("POST", "/v1/posts", body, headers=key)
        if answer.status != 202:
            raise CallRefused("POST", "/v1/posts", answer)
        author.posts.append(
            Written(
                answer.body["id"],
                author.name,
                type_,
                audience,
                number,
                asked_ms,
                now_ms(),
                data,
                tries=answer.tries,
            )
        )

    def _audience(
        self, author: str, chance: random.Random
    ) -> tuple[frozenset[str], dict[str, Any]]:
        """Who is to get a post, and what says so to the api."""
        everybody = self._audiences[author]
        if chance.random() >= CUT_SHARE:
            return everybody, {}
        some = frozenset(chance.sample(sorted(everybody), len(everybody) // 2))
        if chance.random() < 0.5:
            return some, {"audience": {"only": sorted(some)}}
        return everybody - some, {"audience": {"except": sorted(some)}}

    async def _edit(self, author: Author, chance: random.Random) -> None:
        if not (recent := author.recent()):
            return
        post = chance.choice(recent)
        data = {**post.data, "edit": post.version}
        path = f"/v1/posts/{post.id}"
        body = await self._caller.must("PATCH", path, {"data": data})
        post.version, post.data = body["version"], data
        self.edits += 1

    async def _delete(self, author: Author, chance: random.Random) -> None:
        old_ms = now_ms() - DELETED_AFTER_MS
        old = [post for post in author.recent() if post.accepted_ms < old_ms]
        if not old:
            return
        post = chance.choice(old)
        post.delete_asked_ms = now_ms()
        body = await self._caller.must("DELETE", f"/v1/posts/{post.id}")
        post.version = body["version"]
        self.deletions += 1

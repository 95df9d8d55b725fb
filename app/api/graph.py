"""The graph: friends, follows and blocks, one at a time or by the million."""

from dataclasses import dataclass, field

from pydantic import ValidationError

from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.deadline import within
from app.api.lines import Line, Lines
from app.api.problems import MALFORMED, Problem, invalid, problem_of
from app.api.schemas.fields import Nothing, UserPage, problem_of_validation
from app.api.schemas.graph import Edge, Imported, LineError, Users
from app.api.strict_json import parse
from app.errors import GraphFull, StoreError
from app.store.graph import EdgeKind, Graph, Side

BATCH = 500
ERRORS_MAX = 1_000

_NO_CONTENT = Answer(204)


async def befriend(ask: Ask[Nothing, Nothing]) -> Answer:
    """Makes two users friends, which is mutual."""
    return await _add(ask, EdgeKind.FRIEND)


async def unfriend(ask: Ask[Nothing, Nothing]) -> Answer:
    """Ends a friendship, on both sides."""
    return await _remove(ask, EdgeKind.FRIEND)


async def follow(ask: Ask[Nothing, Nothing]) -> Answer:
    """Lets a user follow another."""
    return await _add(ask, EdgeKind.FOLLOW)


async def unfollow(ask: Ask[Nothing, Nothing]) -> Answer:
    """Ends a follow."""
    return await _remove(ask, EdgeKind.FOLLOW)


async def block(ask: Ask[Nothing, Nothing]) -> Answer:
    """Blocks: from now on neither sees what the other posts."""
    return await _add(ask, EdgeKind.BLOCK)


async def unblock(ask: Ask[Nothing, Nothing]) -> Answer:
    """Ends a block."""
    return await _remove(ask, EdgeKind.BLOCK)


async def friends(ask: Ask[UserPage, Nothing]) -> Answer:
    """A user's friends."""
    return await _page(ask, "friends")


async def follows(ask: Ask[UserPage, Nothing]) -> Answer:
    """Whom a user follows."""
    return await _page(ask, "follows")


async def followers(ask: Ask[UserPage, Nothing]) -> Answer:
    """Who follows a user."""
    return await _page(ask, "followers")


async def blocks(ask: Ask[UserPage, Nothing]) -> Answer:
    """Whom a user blocks."""
    return await _page(ask, "blocks")


async def _add(ask: Ask[Nothing, Nothing], kind: EdgeKind) -> Answer:
    user, other = _pair(ask)
    await ask.services.graph.add(kind, user, other)
    return _NO_CONTENT


async def _remove(ask: Ask[Nothing, Nothing], kind: EdgeKind) -> Answer:
    user, other = _pair(ask)
    await ask.services.graph.remove(kind, user, other)
    return _NO_CONTENT


def _pair(ask: Ask[Nothing, Nothing]) -> tuple[str, str]:
    user, other = ask.path["user"], ask.path["other"]
    if user == other:
        raise invalid("other", "must be somebody else")
    return user, other


async def _page(ask: Ask[UserPage, Nothing], side: Side) -> Answer:
    query = ask.query
    users, next_ = await ask.services.graph.page(side, ask.path["user"], query.after, query.limit)
    return model_answer(200, Users(items=users, next=next_))


async def load(ask: Ask[Nothing, Lines]) -> Answer:
    """Takes edges line by line. Every line stands for itself: a bad one stops no other."""
    importing = Import(ask.services.graph, ask.services.limits.answer_timeout_s)
    async for batch in ask.body.batches(BATCH):
        await importing.add(batch)
    return model_answer(200, importing.report())


def waits_s(_: Ask[Nothing, Lines]) -> None:
    """An import may take as long as its lines keep coming; each batch has a limit of its own."""


@dataclass(slots=True)
class Import:
    """An import under way, and what to report of it."""

    graph: Graph
    batch_timeout_s: float
    created: int = 0
    lines: int = 0
    last: int = 0  # the line up to which everything is in
    errors: list[LineError] = field(default_factory=list[LineError])
    errors_omitted: int = 0

    async def add(self, batch: list[Line]) -> None:
        edges: list[tuple[EdgeKind, str, str]] = []
        numbers: list[int] = []
        for line in batch:
            edge = self._read(line)
            if edge is not None:
                edges.append((EdgeKind(edge.kind), edge.a, edge.b))
                numbers.append(line.number)
        try:
            results = await within(self.batch_timeout_s, self.graph.add_many(edges))
        except StoreError as error:
            raise self._broken_off(error) from error
        for number, result in zip(numbers, results, strict=True):
            if isinstance(result, GraphFull):
                self._refuse(number, str(result))
            else:
                self.created += result
        self.lines += len(batch)
        self.last = batch[-1].number

    def report(self) -> Imported:
        errors = sorted(self.errors, key=lambda error: error.line)
        return Imported(
            created=self.created,
            lines=self.lines,
            errors=errors,
            errors_omitted=self.errors_omitted,
        )

    def _read(self, line: Line) -> Edge | None:
        if line.text is None:
            self._refuse(line.number, "is too long")
            return None
        try:
            edge = _edge(line.text)
        except Problem as problem:
            self._refuse(line.number, problem.detail)
            return None
        if edge.a == edge.b:
            self._refuse(line.number, "b: must be somebody else")
            return None
        return edge

    def _refuse(self, number: int, message: str) -> None:
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(LineError(line=number, message=message))
        else:
            self.errors_omitted += 1

    def _broken_off(self, error: StoreError) -> Problem:
        problem = problem_of(error)
        return Problem(
            problem.kind,
            f"{problem.detail} Lines up to {self.last} are in; the import may be repeated.",
            headers=problem.headers,
            members={"created": self.created, "lines_done": self.last},
        )


def _edge(text: bytes) -> Edge:
    value = parse(text)
    if not isinstance(value, dict):
        raise Problem(MALFORMED, "must be a JSON object")
    try:
        return Edge.model_validate(value)
    except ValidationError as error:
        raise problem_of_validation(error) from None

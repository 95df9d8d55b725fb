"""Problems: every error the API answers, as RFC 9457 problem details."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from app import errors
from app.api.answers import Answer, Header
from app.wire import encode_json

log = logging.getLogger(__name__)

MEDIA_TYPE = b"application/problem+json"
ERRORS_MAX = 20  # fields named in one answer


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. `word` ends its type URI and never changes; clients may branch on it."""

    status: int
    word: str
    title: str

    @property
    def uri(self) -> str:
        return f"urn:moments:problem:{self.word}"


NOT_HTTP = Kind(400, "malformed-request", "This is not HTTP as we read it")
MALFORMED = Kind(400, "malformed-body", "The body cannot be read")
UNAUTHENTICATED = Kind(401, "unauthenticated", "A valid key or token is needed")
FORBIDDEN = Kind(403, "forbidden", "This key or token may not do that")
NOT_FOUND = Kind(404, "not-found", "There is no such thing")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "This method does not exist here")
HEAD_TIMEOUT = Kind(408, "head-timeout", "The head did not come in time")
BODY_TIMEOUT = Kind(408, "body-timeout", "The body did not come in time")
CONFLICT = Kind(409, "conflict", "That cannot be done as things stand")
IDEMPOTENCY_MISMATCH = Kind(409, "idempotency-mismatch", "This Idempotency-Key is taken")
LIMIT_REACHED = Kind(409, "limit-reached", "There are as many as there may be")
NO_TOKEN_SECRET = Kind(409, "no-token-secret", "Tokens are not made here")
BODY_TOO_LARGE = Kind(413, "body-too-large", "The body is too large")
UNSUPPORTED_MEDIA = Kind(415, "unsupported-media-type", "The body is of a wrong type")
INVALID = Kind(422, "invalid", "The request holds something that cannot be taken")
HEAD_TOO_LARGE = Kind(431, "head-too-large", "The head of the request is too large")
TOO_MANY_HEADERS = Kind(431, "too-many-headers", "The request has too many headers")
TOO_MANY_CHALLENGES = Kind(429, "too-many-challenges", "This host is challenged too often")
TOO_MANY_WAITS = Kind(429, "too-many-waits", "This user waits too often at once")
TOO_MANY_REQUESTS = Kind(429, "too-many-requests", "This key or user calls too often")
TOO_MANY_POSTS = Kind(429, "too-many-posts", "This author posts too often")
TOO_MANY_FAILURES = Kind(429, "too-many-failures", "Too many keys and tokens were wrong")
TOO_MANY_OF_ADDRESS = Kind(429, "too-many-of-address", "This address has too many connections")
INTERNAL = Kind(500, "internal", "Something went wrong on our side")
UNAVAILABLE = Kind(503, "unavailable", "The service cannot do that now")
STORE_FULL = Kind(503, "store-full", "The store takes no more")
BACKLOG_FULL = Kind(503, "backlog-full", "Too many posts are waiting to be fanned out")
NOT_DURABLE = Kind(503, "not-durable", "The write was not confirmed as safe in time")
NO_SENDER = Kind(503, "no-sender", "No sender answered")
NOT_READY = Kind(503, "not-ready", "Not ready")
TOO_MANY_CONNECTIONS = Kind(503, "too-many-connections", "There are too many connections")

KINDS = tuple(kind for kind in list(globals().values()) if isinstance(kind, Kind))


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: `data.x`, `audience.only[3]`, a query or path parameter."""

    field: str
    message: str


class Problem(errors.MomentsError):
    """An error answer on its way out. `members` are added to the document."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        fields: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.fields = tuple(fields)
        self.headers = headers or {}
        self.members = members or {}

    def document(self) -> dict[str, Any]:
        kind = self.kind
        document: dict[str, Any] = {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
        }
        if self.fields:
            shown = self.fields[:ERRORS_MAX]
            document["errors"] = [{"field": e.field, "message": e.message} for e in shown]
        return {**document, **self.members}

    def answer(self) -> Answer:
        headers: list[Header] = [
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in self.headers.items()
        ]
        return Answer(self.kind.status, encode_json(self.document()), MEDIA_TYPE, tuple(headers))


def invalid(field: str, message: str) -> Problem:
    """A 422 that names one field."""
    return Problem(INVALID, f"{field}: {message}", fields=[FieldError(field, message)])


def not_found(what: str) -> Problem:
    return Problem(NOT_FOUND, f"There is no such {what}, or it is no longer kept.")


def unavailable(kind: Kind, detail: str, retry_after_s: int) -> Problem:
    return Problem(kind, detail, headers={"Retry-After": str(retry_after_s)})


def problem_of(error: Exception) -> Problem:
    """The problem an exception is to a client. What nobody foresaw is logged with its traceback."""
    match error:
        case Problem():
            return error
        case errors.Refused():
            return _refused(error)
        case errors.TooManyChallenges():
            return unavailable(TOO_MANY_CHALLENGES, _sentence(error), 60)
        case errors.StoreError() | errors.BacklogFull() | errors.NoSender():
            return _later(error) or _unforeseen(error)
        # These two the framework raises by itself; the second for pages only.
        case HTTPException(status_code=404):
            return Problem(NOT_FOUND, "There is nothing at this path.")
        case HTTPException(status_code=405):
            allow = dict(error.headers or {}).get("Allow", "GET, HEAD")
            return Problem(METHOD_NOT_ALLOWED, f"Here are: {allow}.", headers={"Allow": allow})
        case _:
            return _unforeseen(error)


def _refused(error: errors.Refused) -> Problem:
    match error:
        case errors.PostNotFound():
            return Problem(NOT_FOUND, _sentence(error))
        case errors.IdempotencyMismatch():
            return Problem(IDEMPOTENCY_MISMATCH, _sentence(error))
        case errors.PostDeleted() | errors.EndpointUnverified():
            return Problem(CONFLICT, _sentence(error))
        case _:
            return Problem(LIMIT_REACHED, _sentence(error))


def _later(error: Exception) -> Problem | None:
    """A 503 for what may go away by itself. The store's own words are for the log only."""
    log.debug("answering 503", extra={"reason": str(error)})
    match error:
        case errors.BacklogFull():
            return unavailable(BACKLOG_FULL, _sentence(error), 5)
        case errors.NoSender():
            return unavailable(NO_SENDER, _sentence(error), 5)
        case errors.NotDurable():
            detail = (
                "It may have been written all the same: repeat it with the same Idempotency-Key."
            )
            return unavailable(NOT_DURABLE, detail, 1)
        case errors.StoreFull():
            return unavailable(STORE_FULL, "The store has reached its memory limit.", 30)
        case errors.StoreUnavailable():
            return unavailable(UNAVAILABLE, "The store does not answer.", 1)
        case _:
            return None


def _unforeseen(error: Exception) -> Problem:
    instance = uuid.uuid4().urn
    log.error("request failed", exc_info=error, extra={"instance": instance})
    detail = "It is in our log under this instance."
    return Problem(INTERNAL, detail, members={"instance": instance})


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."

"""Every error this package raises.

MomentsError
├── ProblemError             the service answered with an error: `type`, `title`, `status`, …
│   ├── BadRequest           400, 405, 408, 413, 415, 431: not a request it can read
│   ├── Unauthenticated      401: no key or token, or one that does not hold
│   ├── Forbidden            403: this key or token may not do that
│   ├── NotFound             404: no such post, endpoint, delivery or key
│   ├── Conflict             409: cannot be done as things stand
│   ├── Invalid              422: `errors` names each field that is wrong
│   ├── TooMany              429: more than may be; `retry_after_s` says when it may
│   ├── ServerFault          500 and others: a mistake of the service; `instance` is in its log
│   └── Unavailable          503: not now; `retry_after_s` says when it may
├── Unreachable              no answer: nobody there, the connection broke, no time was left
├── UnexpectedAnswer         an answer, but none of this service
├── SubscriptionClosed       a socket was closed, or refused, for good
└── InvalidWebhook           a request that does not come from the service, or not as it does
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class MomentsError(Exception):
    """The root of all of them."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request, such as `audience.only[3]`."""

    field: str
    message: str


class ProblemError(MomentsError):
    """An error answer, as problem details have it (RFC 9457).

    `type` names the kind for good, `urn:moments:problem:…`; branch on it or on the class.
    `retry_after_s` is None where waiting does not help. `instance` names the line in the service's
    log; `members` is whatever else the document says.
    """

    def __init__(
        self,
        *,
        type: str,
        title: str,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        instance: str | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.instance = instance
        self.members: Mapping[str, Any] = members or {}


class BadRequest(ProblemError):
    """The service could not read the request, or does not know it."""


class Unauthenticated(ProblemError):
    """No key or token, or one that does not hold (any more)."""


class Forbidden(ProblemError):
    """The key or token is good, but not for that."""


class NotFound(ProblemError):
    """No such thing, or it is no longer kept."""


class Conflict(ProblemError):
    """It was understood, and cannot be done as things stand."""


class Invalid(ProblemError):
    """`errors` names each field that is wrong."""


class TooMany(ProblemError):
    """More than this key, user, author or address may do; nothing was changed."""


class ServerFault(ProblemError):
    """A mistake on the other side."""


class Unavailable(ProblemError):
    """It cannot be done now."""


class Unreachable(MomentsError):
    """There was no answer. What was asked for may have been done all the same.

    `was_sent` False: the connection was never made, so that nothing can have happened.
    """

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class UnexpectedAnswer(MomentsError):
    """What came is not what this service says: is the URL that of another?"""


class SubscriptionClosed(MomentsError):
    """The socket is closed and would be closed again: `code` and `reason` are the gateway's.

    `code` is a websocket close code (4500 and up), or the HTTP status that refused the socket.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed for good with {code}: {reason}")
        self.code = code
        self.reason = reason


class InvalidWebhook(MomentsError):
    """Answer it with `status` (4xx) and its text, which the sender keeps in its log of attempts."""

    def __init__(self, reason: str, status: int = 401) -> None:
        super().__init__(reason)
        self.status = status


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: TooMany,
    503: Unavailable,
}


def problem_class(status: int) -> type[ProblemError]:
    """Which of the classes above an error status is."""
    return _BY_STATUS.get(status, BadRequest if status < 500 else ServerFault)

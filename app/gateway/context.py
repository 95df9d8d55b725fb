"""What all sockets of a gateway share: its limits, its counters, its clock, and whom to tell."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.domain.close_codes import CloseCode
from app.errors import BadToken, ExpiredToken
from app.gateway.actions import Close
from app.gateway.limits import Limits
from app.gateway.notices import Notices
from app.gateway.stats import Stats
from app.gateway.wheel import Wheel
from app.tokens import LEEWAY_S, Claims

if TYPE_CHECKING:
    from app.gateway.connection import Connection

Verify = Callable[[str], Claims]  # raises `BadToken`


@dataclass(slots=True)
class Context:
    """The callables are told what a socket wants or did. Only `epoch` ever changes."""

    limits: Limits
    epoch: str
    stats: Stats
    notices: Notices
    wheel: Wheel
    verify: Verify
    now: Callable[[], float]  # in seconds, never goes back
    ask: "Callable[[Connection], None]"  # for a page of the inbox
    repeat: "Callable[[Connection, int], None]"  # for the event at one offset
    left: "Callable[[Connection], None]"  # takes part in nothing any more
    lost: "Callable[[Counted], None]"  # has ended
    advance: Callable[[str, int], None]  # a user's cursor
    repushed: Callable[[str, int, int], None]  # user, offset, attempts


class Counted(Protocol):
    """A connection; `address` is what it is counted for, if anything."""

    address: str | None


def judge(verify: Verify, token: str) -> Claims | Close:
    """Whose the token of a message is, or how the socket that sent it is closed."""
    try:
        return verify(token)
    except ExpiredToken:
        return Close(CloseCode.TOKEN_EXPIRED, "the token has expired")
    except BadToken as error:
        return Close(CloseCode.BAD_TOKEN, f"the token does not hold: {error}")


def deadline(claims: Claims, now: float) -> float:
    """When a socket opened with this token is closed, by the clock that `now` is of."""
    return now + claims.expires_at + LEEWAY_S - time.time()

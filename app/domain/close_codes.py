"""Why a socket is closed by us. The range says what the client should do then.

    4000-4499   connect again, with the offset it has (for 4002 with a new token)
    4500-4999   do not: the same client would be closed again

Besides these, RFC 6455 has its own codes for what breaks the protocol of websockets itself: 1002,
1007 and 1009 (a message over `message_bytes_max`).
"""

from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    """Each with the reason that goes with it when there is nothing more exact to say."""

    reason: str

    def __new__(cls, code: int, reason: str) -> "CloseCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    GOING_AWAY = 4001, "going away"
    TOKEN_EXPIRED = 4002, "token expired"
    NO_PONG = 4003, "no answer to a ping"
    UNACKNOWLEDGED = 4004, "pushed again and again, never acknowledged"
    TOKEN_LATE = 4005, "no token came in time"
    NO_ROOM = 4006, "no room for another socket now"
    TOO_SLOW = 4408, "too slow"

    BAD_MESSAGE = 4500, "not a message of this protocol"
    BAD_TOKEN = 4501, "the token does not hold, or is another user's"
    FLOOD = 4502, "too many messages"

    @property
    def may_reconnect(self) -> bool:
        return self < 4500


GONE: Final = 1006  # RFC 6455, 7.4.1: the connection ended without a close frame
BROKEN: Final = frozenset({1002, 1007, 1009})  # the client broke the protocol of websockets
STANDARD: Final = frozenset(range(1000, 1016))  # RFC 6455, 7.4.1, and those registered since
OTHER: Final = 3000

_COUNTED: Final = STANDARD.union(CloseCode)


def counted(code: int) -> int:
    """What a code is counted as: clients may make up thousands, which are all `OTHER`."""
    return code if code in _COUNTED else OTHER

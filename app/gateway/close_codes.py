"""Why a socket is closed by us. The range says what the client should do then.

    4000-4499   connect again, with the offset it has (for 4002 with a new token)
    4500-4999   do not: the same client would be closed again

Besides these, RFC 6455 has its own codes for what breaks the protocol of websockets itself: 1002,
1007 and 1009 (a message over `message_bytes_max`).
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Each with the reason that goes with it when there is nothing more exact to say."""

    reason: str

    def __new__(cls, code: int, reason: str) -> "CloseCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    INTERNAL = 4000, "internal error"
    GOING_AWAY = 4001, "going away"
    TOKEN_EXPIRED = 4002, "token expired"
    NO_PONG = 4003, "no answer to a ping"
    UNACKNOWLEDGED = 4004, "pushed again and again, never acknowledged"
    TOO_SLOW = 4408, "too slow"

    BAD_MESSAGE = 4500, "not a message of this protocol"
    BAD_TOKEN = 4501, "the new token does not hold, or is another user's"
    FLOOD = 4502, "too many messages"

    @property
    def may_reconnect(self) -> bool:
        return self < 4500

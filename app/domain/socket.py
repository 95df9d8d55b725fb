"""What is said on a socket besides events, both ways, and how one is opened: names and shapes.

The description of the protocol is made of these; `app.wire` and the gateway make the bytes.
"""

from typing import Annotated, Final, Literal

from annotated_types import Ge
from typing_extensions import TypedDict

SOCKET_PATH: Final = "/v1/socket"
JSON_SUBPROTOCOL: Final = "moments.v1.json"
MSGPACK_SUBPROTOCOL: Final = "moments.v1.msgpack"
PARAMETERS: Final = frozenset({"token", "after", "epoch", "ack"})
OFFSET_DIGITS_MAX: Final = 15  # what a JSON number holds exactly

AckWord = Literal["auto", "explicit"]


class HelloMessage(TypedDict):
    """The first message: whose socket it is, the store's epoch, the newest offset of the inbox, the
    acknowledged cursor, and after how many seconds of silence the gateway pings."""

    type: Literal["hello"]
    user: str
    epoch: str
    head: int
    cursor: int
    ping_s: float


GapMessage = TypedDict("GapMessage", {"type": Literal["gap"], "from": int, "to": int})
GapMessage.__doc__ = "These offsets, both included, are trimmed away and will not come."


class ResetMessage(TypedDict):
    """The client's offset means nothing here: the store is another, or began anew, and its epoch is
    this. What the inbox holds follows from its start."""

    type: Literal["reset"]
    epoch: str


class GoodbyeMessage(TypedDict):
    """The gateway closes next; the client may come back after `reconnect_ms`."""

    type: Literal["goodbye"]
    reason: str
    reconnect_ms: int


class PongMessage(TypedDict):
    """The answer to a client's own `ping`."""

    type: Literal["pong"]


class PingMessage(TypedDict):
    """Whether the connection is still there: for clients that are shown no pings, as pages are not.
    It counts as 20 messages for the limit of a client's messages."""

    type: Literal["ping"]


class AckMessage(TypedDict):
    """Everything up to `offset`, itself included, has been dealt with."""

    type: Literal["ack"]
    offset: Annotated[int, Ge(0)]


class TokenMessage(TypedDict):
    """The token of a socket that was opened without one, or a new one before the old one ends."""

    type: Literal["token"]
    token: str

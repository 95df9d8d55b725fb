"""What a gateway says besides events, as messages of the contract."""

from typing import Final

from app.domain.socket import GapMessage, GoodbyeMessage, HelloMessage, ResetMessage
from app.gateway.actions import Gap, Hello, Reset, Said

PONG: Final = {"type": "pong"}  # to a client's own `ping`


def words(
    said: Said, *, user: str, epoch: str, ping_s: float
) -> HelloMessage | GapMessage | ResetMessage:
    """What a session has to say, for the user of its socket."""
    match said:
        case Hello(head, cursor):
            return {
                "type": "hello",
                "user": user,
                "epoch": epoch,
                "head": head,
                "cursor": cursor,
                "ping_s": ping_s,
            }
        case Gap(first, last):
            return {"type": "gap", "from": first, "to": last}
        case Reset():
            return {"type": "reset", "epoch": epoch}


def goodbye(reason: str, reconnect_ms: int) -> GoodbyeMessage:
    """Before a gateway closes; the client may come back after so long."""
    return {"type": "goodbye", "reason": reason, "reconnect_ms": reconnect_ms}

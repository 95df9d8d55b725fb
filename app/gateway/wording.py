"""What a gateway says besides events, as messages of the contract."""

from typing import Any, Final

from app.gateway.actions import Gap, Hello, Reset, Said

PONG: Final = {"type": "pong"}  # to a client's own `ping`


def words(said: Said, *, user: str, epoch: str, ping_s: float) -> dict[str, Any]:
    """What a session has to say, for the user of its socket."""
    match said:
        case Hello(head, cursor):
            hello = {"type": "hello", "user": user, "epoch": epoch}
            return {**hello, "head": head, "cursor": cursor, "ping_s": ping_s}
        case Gap(first, last):
            return {"type": "gap", "from": first, "to": last}
        case Reset():
            return {"type": "reset", "epoch": epoch}


def goodbye(reason: str, reconnect_ms: int) -> dict[str, Any]:
    """Before a gateway closes; the client may come back after so long."""
    return {"type": "goodbye", "reason": reason, "reconnect_ms": reconnect_ms}

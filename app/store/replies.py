"""Reading what the server answers: errors as exceptions, flat lists as pairs."""

from collections.abc import Callable, Sequence
from typing import Any

from app.errors import (
    CommandRejected,
    Demoted,
    GroupMissing,
    Redirected,
    ScriptMissing,
    StoreError,
    StoreFull,
    StoreUnavailable,
)


def error_of(reply: str) -> StoreError:
    """The exception for the text of an error reply, whose first word is its code."""
    code, _, rest = reply.partition(" ")
    make = _BY_CODE.get(code)
    if make is not None:
        return make(reply)
    if code == "MOVED" or code == "ASK":
        return _redirected(reply, rest, once=code == "ASK")
    if "max number of clients" in rest:  # its code is a mere ERR
        return StoreUnavailable(reply)
    return CommandRejected(reply)


def _redirected(reply: str, rest: str, *, once: bool) -> Redirected:
    """From `<slot> <host>:<port>`. The host may be an IPv6 address without brackets, or empty."""
    host, _, port = rest.partition(" ")[2].rpartition(":")
    return Redirected(reply, (host, int(port)), once=once)


def _try_again(reply: str) -> Redirected:
    """The keys of one command are on both sides of a move at this moment."""
    return Redirected(reply, None, once=True)


_BY_CODE: dict[str, Callable[[str], StoreError]] = {
    "NOSCRIPT": ScriptMissing,
    "NOGROUP": GroupMissing,
    "OOM": StoreFull,
    "READONLY": Demoted,
    "TRYAGAIN": _try_again,
    "LOADING": StoreUnavailable,
    "BUSY": StoreUnavailable,  # a script has been running for too long
    "CLUSTERDOWN": StoreUnavailable,
    "MASTERDOWN": StoreUnavailable,
    "MISCONF": StoreUnavailable,  # it cannot persist, e.g. a full disk, and takes no writes
    "NOREPLICAS": StoreUnavailable,  # fewer replicas than min-replicas-to-write
    "UNBLOCKED": StoreUnavailable,  # a blocking read was cut off by a failover
}


def pairs(flat: Sequence[Any]) -> list[tuple[Any, Any]]:
    """A hash, or members with their scores: protocol 2 gives names and values in turn."""
    return list(zip(flat[0::2], flat[1::2], strict=True))

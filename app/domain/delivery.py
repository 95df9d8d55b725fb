"""The states of a webhook delivery and the table of what may follow what.

A delivery is always in exactly one place: a delivery stream, the retry schedule, its endpoint's
parked list, or a final state. The ledger's state says which:

    (no record)  in the delivery stream, never tried
    PENDING      never tried, put back on the schedule by back-pressure, or on its way from there
    RETRYING     tried and failed, on the schedule or on its way from there
    PARKED_*     in the endpoint's parked list (breaker open or endpoint disabled)
    DELIVERED, DEAD, SUPPRESSED, CANCELLED   final; a call may send any of them once more
"""

from enum import StrEnum


class State(StrEnum):
    """The value is the letter in the ledger's packed record."""

    PENDING = "p"
    RETRYING = "r"
    PARKED_PENDING = "P"
    PARKED_RETRYING = "R"
    DELIVERED = "d"
    DEAD = "x"
    SUPPRESSED = "s"
    CANCELLED = "c"

    @property
    def is_final(self) -> bool:
        return self in FINAL

    @property
    def is_parked(self) -> bool:
        return self in PARKED

    @property
    def word(self) -> str:
        """The state's name in the API; a parked delivery is pending or retrying there."""
        return WORDS[self]


FINAL = frozenset({State.DELIVERED, State.DEAD, State.SUPPRESSED, State.CANCELLED})
PARKED = frozenset({State.PARKED_PENDING, State.PARKED_RETRYING})

WORDS = {
    State.PENDING: "pending",
    State.RETRYING: "retrying",
    State.PARKED_PENDING: "pending",
    State.PARKED_RETRYING: "retrying",
    State.DELIVERED: "delivered",
    State.DEAD: "dead",
    State.SUPPRESSED: "suppressed",
    State.CANCELLED: "cancelled",
}

_OPEN = frozenset({State.PENDING, State.RETRYING, State.PARKED_PENDING, State.PARKED_RETRYING})
# The outcome of an attempt under way may come after its post was cancelled; a 2xx is then the
# truth. A final state is left otherwise only by a call (retry, replay, recover).
TRANSITIONS: dict[State | None, frozenset[State]] = {
    None: _OPEN | FINAL,
    State.PENDING: _OPEN | FINAL,
    State.RETRYING: frozenset({State.RETRYING, State.PARKED_RETRYING}) | FINAL,
    State.PARKED_PENDING: frozenset({State.PENDING, State.RETRYING, State.DELIVERED}) | FINAL,
    State.PARKED_RETRYING: frozenset({State.RETRYING, State.DELIVERED}) | FINAL,
    State.DELIVERED: frozenset({State.RETRYING}),
    State.DEAD: frozenset({State.PENDING, State.RETRYING, State.DELIVERED}),
    State.SUPPRESSED: frozenset({State.PENDING, State.RETRYING, State.DELIVERED}),
    State.CANCELLED: frozenset({State.PENDING, State.RETRYING, State.DELIVERED}),
}


def may_follow(old: State | None, new: State) -> bool:
    return new in TRANSITIONS[old]

"""Health of an endpoint: its breaker, its pauses, and when it is disabled.

Apart from the retry of a delivery: this says whether the endpoint may be sent anything at all.

    active    everything is sent, unless the endpoint is paused (429, 502, 503, 504)
    open      10 failures in a row: work is parked, one request a minute goes through as a probe
    disabled  answered 410; or failing for 5 days, on 3 different ones, without a success between:
              work is parked; unless it was 410, one request an hour goes through as a probe
    unverified  has not echoed a challenge yet (docs/decisions/017): work is parked, no probe goes
              through, and no outcome changes that

Any success makes it active again; after a 410 only a call does. What the egress proxy fails at is
not the endpoint's: it leaves this as it is (`PROXY`), or opens the breaker and never disables, for
it may be the receiver that cannot be reached (`TUNNEL`). "Half-open" is no state of its
own: an open or disabled endpoint whose `open_until_ms` is past takes a probe, and starting one
moves `open_until_ms` on. So there is one probe at a time, and one that is lost blocks nothing.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum, auto

from app.domain.attempt import Failure, Outcome
from app.domain.backoff import RETRY_AFTER_MAX_S, floor_s

_DAY_S = 86_400.0
_TOO_MANY_REQUESTS = 429


class EndpointState(StrEnum):
    """The value is the field `state` of the endpoint's hash and of the API."""

    ACTIVE = "active"
    OPEN = "open"
    DISABLED = "disabled"
    UNVERIFIED = "unverified"


class DisabledReason(StrEnum):
    """The value is the field `disabled_reason`."""

    GONE = "gone"
    FAILING = "failing"


class Permit(Enum):
    """Whether an endpoint may be sent something now."""

    SEND = auto()
    PROBE = auto()  # one request, after `on_probe`
    WAIT = auto()  # until `paused_until_ms`, at no cost to the delivery
    PARK = auto()  # into the endpoint's parked list, at no cost to the delivery


class Notice(StrEnum):
    """What the sender has to act on after an outcome."""

    OPENED = "opened"  # park what waits; probe at `open_until_ms`
    CLOSED = "closed"  # drain the parked list, paced
    PAUSED = "paused"  # send nothing until `paused_until_ms`
    DISABLED = "disabled"  # park what waits, tell the owner; probe at `open_until_ms` if set
    ENABLED = "enabled"  # a probe brought it back: drain the parked list, paced


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of the rules. Defaults are those of the settings of the same names."""

    breaker_failures: int = 10
    breaker_open_s: float = 60.0
    disable_after_s: float = 5 * _DAY_S
    disable_days: int = 3
    disabled_probe_s: float = 3_600.0
    request_deadline_s: float = 15.0
    retry_after_max_s: float = RETRY_AFTER_MAX_S
    pause_s: float = 1.0  # the first pause without Retry-After; doubled while they go on
    pause_max_s: float = 60.0
    success_note_s: float = 10.0  # how far `last_success_at_ms` of a healthy endpoint may lag


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of an endpoint. Times are unix time.

    `consecutive_failures`, `first_failure_at_ms` and `failure_days` (dates in UTC, as many as the
    rule needs) are about the time since the last success. `open_until_ms` is when a probe may go;
    None while active, and after a 410. The pause is not stored: a new owner may ask once more.
    """

    state: EndpointState = EndpointState.ACTIVE
    disabled_reason: str | None = None
    consecutive_failures: int = 0
    first_failure_at_ms: int | None = None
    failure_days: tuple[str, ...] = ()
    last_success_at_ms: int | None = None
    open_until_ms: int | None = None
    paused_until_ms: int = 0
    pause_s: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Nothing to forget when a success comes."""
        return self.first_failure_at_ms is None and self.state is _ACTIVE and not self.pause_s


class _Signal(Enum):
    """What an outcome means to the breaker."""

    SUCCESS = auto()
    FAILURE = auto()
    TRIP = auto()  # a failure, the last one in a row that is long enough
    EXPIRY = auto()  # a failure, and it has gone on for too long
    GONE = auto()


_ACTIVE, _OPEN, _DISABLED = EndpointState.ACTIVE, EndpointState.OPEN, EndpointState.DISABLED
_UNVERIFIED = EndpointState.UNVERIFIED

TRANSITIONS: dict[EndpointState, dict[_Signal, EndpointState]] = {
    _ACTIVE: {
        _Signal.SUCCESS: _ACTIVE,
        _Signal.FAILURE: _ACTIVE,
        _Signal.TRIP: _OPEN,
        _Signal.EXPIRY: _DISABLED,
        _Signal.GONE: _DISABLED,
    },
    _OPEN: {
        _Signal.SUCCESS: _ACTIVE,
        _Signal.FAILURE: _OPEN,
        _Signal.TRIP: _OPEN,
        _Signal.EXPIRY: _DISABLED,
        _Signal.GONE: _DISABLED,
    },
    _DISABLED: {
        _Signal.SUCCESS: _ACTIVE,
        _Signal.FAILURE: _DISABLED,
        _Signal.TRIP: _DISABLED,
        _Signal.EXPIRY: _DISABLED,
        _Signal.GONE: _DISABLED,
    },
    # Outcomes of requests to the address before this one.
    _UNVERIFIED: dict.fromkeys(_Signal, _UNVERIFIED),
}

_NOTICES = {
    (_ACTIVE, _OPEN): Notice.OPENED,
    (_OPEN, _ACTIVE): Notice.CLOSED,
    (_ACTIVE, _DISABLED): Notice.DISABLED,
    (_OPEN, _DISABLED): Notice.DISABLED,
    (_DISABLED, _ACTIVE): Notice.ENABLED,
}


def spends_attempt(outcome: Outcome) -> bool:
    """429 is back-pressure, and without an egress proxy nothing was tried: the delivery's schedule
    does not move on."""
    if outcome.failure is not None:
        return outcome.failure is not Failure.PROXY
    return outcome.status != _TOO_MANY_REQUESTS


def may_send(health: Health, now_ms: int) -> Permit:
    """Asked right before a request is made. For a `PROBE`, `on_probe` comes next."""
    if health.state is _ACTIVE:
        return Permit.SEND if now_ms >= health.paused_until_ms else Permit.WAIT
    probe_at_ms = health.open_until_ms
    return Permit.PROBE if probe_at_ms is not None and now_ms >= probe_at_ms else Permit.PARK


def on_probe(health: Health, now_ms: int, policy: Policy) -> Health:
    """A probe is being sent: no other until its time is over, whatever becomes of it."""
    every_s = _probe_every_s(health.state, policy)
    return replace(health, open_until_ms=now_ms + _ms(max(every_s, policy.request_deadline_s)))


def enable(health: Health) -> Health:
    """Active again by a call, with a clean record."""
    return Health(last_success_at_ms=health.last_success_at_ms)


def on_outcome(
    health: Health, outcome: Outcome, now_ms: int, policy: Policy
) -> tuple[Health, tuple[Notice, ...]]:
    """The health after an attempt, the same object when nothing worth writing has changed."""
    if outcome.failure is Failure.PROXY or health.state is _UNVERIFIED:
        return health, ()
    if outcome.ok:
        if health.is_clean and _is_noted(health, now_ms, policy):
            return health, ()
        after = _after_success(health, now_ms)
    else:
        after = _after_failure(health, outcome, now_ms, policy)
    change = _NOTICES.get((health.state, after.state))
    notices = () if change is None else (change,)
    if after.state is _ACTIVE and after.paused_until_ms > health.paused_until_ms:
        notices = (*notices, Notice.PAUSED)
    return after, notices


def _is_noted(health: Health, now_ms: int, policy: Policy) -> bool:
    noted_ms = health.last_success_at_ms
    return noted_ms is not None and now_ms - noted_ms < policy.success_note_s * 1000


def _after_success(health: Health, now_ms: int) -> Health:
    if health.disabled_reason == DisabledReason.GONE:
        # A request under way when the 410 came, or a retry by call: the receiver's word stands.
        return replace(health, last_success_at_ms=now_ms)
    return Health(
        state=TRANSITIONS[health.state][_Signal.SUCCESS],
        last_success_at_ms=now_ms,
        # A success while paused was under way before; only one after the pause ends its growth.
        paused_until_ms=health.paused_until_ms,
        pause_s=health.pause_s if now_ms < health.paused_until_ms else 0.0,
    )


def _after_failure(health: Health, outcome: Outcome, now_ms: int, policy: Policy) -> Health:
    noted = _paused(_noted(health, outcome, now_ms, policy), outcome, now_ms, policy)
    signal = _signal(noted, outcome, now_ms, policy)
    state = TRANSITIONS[health.state][signal]
    if signal is _Signal.GONE:
        return replace(
            noted, state=state, disabled_reason=DisabledReason.GONE.value, open_until_ms=None
        )
    if state is not health.state:
        open_until_ms = now_ms + _ms(_probe_every_s(state, policy))
        reason = DisabledReason.FAILING.value if state is _DISABLED else None
        noted = replace(noted, state=state, disabled_reason=reason, open_until_ms=open_until_ms)
    if noted.open_until_ms is not None and noted.open_until_ms < noted.paused_until_ms:
        return replace(noted, open_until_ms=noted.paused_until_ms)
    return noted


def _noted(health: Health, outcome: Outcome, now_ms: int, policy: Policy) -> Health:
    """With the failure counted. 429 does not count towards the breaker, only as a day of failing:
    an endpoint that answers nothing else would otherwise be asked for ever. A tunnel that is not
    made counts towards the breaker alone."""
    days = health.failure_days
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    is_theirs = outcome.failure is not Failure.TUNNEL
    if is_theirs and today not in days and len(days) < policy.disable_days:
        days = (*days, today)
    first_ms = health.first_failure_at_ms
    return replace(
        health,
        consecutive_failures=health.consecutive_failures + spends_attempt(outcome),
        first_failure_at_ms=now_ms if first_ms is None else first_ms,
        failure_days=days,
    )


def _paused(health: Health, outcome: Outcome, now_ms: int, policy: Policy) -> Health:
    if not outcome.asks_to_slow_down:
        return health
    asked_s = floor_s(outcome.retry_after, now_ms, policy.retry_after_max_s)
    pause_s = health.pause_s
    if now_ms >= health.paused_until_ms:
        # Answers that come during a pause belong to requests from before it: no reason to double.
        pause_s = min(max(policy.pause_s, 2 * pause_s), policy.pause_max_s)
        asked_s = max(asked_s, pause_s)
    until_ms = max(health.paused_until_ms, now_ms + _ms(asked_s))
    return replace(health, paused_until_ms=until_ms, pause_s=pause_s)


def _signal(noted: Health, outcome: Outcome, now_ms: int, policy: Policy) -> _Signal:
    if outcome.is_gone:
        return _Signal.GONE
    if outcome.failure is not Failure.TUNNEL and _has_expired(noted, now_ms, policy):
        return _Signal.EXPIRY
    return (
        _Signal.TRIP if noted.consecutive_failures >= policy.breaker_failures else _Signal.FAILURE
    )


def _has_expired(health: Health, now_ms: int, policy: Policy) -> bool:
    """Counted from the first failure, not from the last success: an endpoint that gets little
    has had no chance to succeed in between."""
    first_ms = health.first_failure_at_ms
    return (
        first_ms is not None
        and now_ms - first_ms >= policy.disable_after_s * 1000
        and len(health.failure_days) >= policy.disable_days
    )


def _probe_every_s(state: EndpointState, policy: Policy) -> float:
    return policy.disabled_probe_s if state is _DISABLED else policy.breaker_open_s


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def changed_fields(old: Health, new: Health) -> dict[str, str | int]:
    """Fields of the endpoint's hash to write, an empty text for what is not set any more."""
    before, after = _fields(old), _fields(new)
    return {name: value for name, value in after.items() if before[name] != value}


def _fields(health: Health) -> dict[str, str | int]:
    first_ms, success_ms = health.first_failure_at_ms, health.last_success_at_ms
    return {
        "state": health.state.value,
        "disabled_reason": health.disabled_reason or "",
        "consecutive_failures": health.consecutive_failures,
        "first_failure_at": "" if first_ms is None else first_ms,
        "failure_days": " ".join(health.failure_days),
        "last_success_at": "" if success_ms is None else success_ms,
        "open_until": "" if health.open_until_ms is None else health.open_until_ms,
    }

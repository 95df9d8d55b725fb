"""What a worker counts, under the names that somebody who scrapes sees."""

from collections.abc import Mapping
from typing import Final

from app import metrics as names
from app.domain.delivery import State
from app.metrics import Labels, Metric, Metrics
from workers.lane import Reached
from workers.supervisor import WorkerStats

_FANOUT: Final[Mapping[str, Metric]] = {
    "events": names.POSTS_FANNED_OUT,
    "slices": names.SLICES,
    "recipients": names.RECIPIENTS,
    "webhooks": names.WEBHOOKS,
    "cancelled": names.CANCELLED,
    "held": names.EVENTS_HELD,
    "paused": names.FANOUT_READS_PAUSED,
    "trimmed": names.INBOXES_TRIMMED,
    "time": names.FAN_OUT_TIME,
}
_SENDER: Final[Mapping[str, Metric]] = {
    "read": names.ENTRIES_READ,
    "moved": names.RETRIES_MOVED,
    "moves_full": names.RETRY_MOVES_FULL,
    "stream_full": names.RETRY_STREAM_FULL,
    "expired": names.DELIVERIES_EXPIRED,
}
_DISPATCH: Final[Mapping[str, Metric]] = {
    "time": names.ATTEMPT_TIME,
    "lateness": names.RETRY_LATENESS,
}
_OUTCOMES: Final[Mapping[str, Metric]] = {
    "batches": names.OUTCOME_BATCHES,
    "batches_full": names.OUTCOME_BATCHES_FULL,
}
_JANITOR: Final[Mapping[str, Metric]] = {
    "nodes_removed": names.NODES_REMOVED,
    "routes_cleaned": names.ROUTES_CLEANED,
    "dead_expired": names.DEAD_EXPIRED,
}
# The number is what a worker that does not send has.
_HTTP: Final[Mapping[str, Metric]] = {
    "in_flight": names.ATTEMPTS_OPEN,
    "open": names.CONNECTIONS_OPEN,
    "idle": names.CONNECTIONS_IDLE,
    "waiting": names.CONNECTION_WAITS,
    "opened_total": names.CONNECTIONS_MADE,
    "reused_total": names.CONNECTIONS_REUSED,
    "evicted_total": names.CONNECTIONS_EVICTED,
    "expired_total": names.CONNECTIONS_EXPIRED,
    "intruded_total": names.CONNECTIONS_INTRUDED,
    "resent_total": names.ATTEMPTS_RESENT,
    "refused_total": names.ATTEMPTS_REFUSED,
    "truncated_total": names.ANSWERS_CUT,
}
_ROOM: Final[Mapping[str, Metric]] = {
    "held": names.DELIVERIES_HELD,
    "paused": names.DELIVERY_READS_PAUSED,
}
_LANES: Final[Mapping[str, Metric]] = {
    "queued": names.DELIVERIES_WAITING,
    "slow_in_flight": names.ATTEMPTS_SLOW,
}


def register(to: Metrics, stats: WorkerStats) -> None:
    """Adds the metrics of a worker process."""
    to.register_stats(stats.fanout, _FANOUT)
    to.register_stats(stats.sender, _SENDER)
    to.register_stats(stats.dispatch, _DISPATCH)
    to.register_stats(stats.outcomes, _OUTCOMES)
    to.register_stats(stats.janitor, _JANITOR)
    # Only a worker that sends has a client and lanes, and only once it runs.
    for name, metric in _HTTP.items():
        to.register(*metric, lambda name=name: getattr(stats.http, name, 0))
    for name, metric in _LANES.items():
        to.register(*metric, lambda name=name: getattr(stats.lanes, name, 0))
    for name, metric in _ROOM.items():
        to.register(*metric, lambda name=name: getattr(stats.room, name, 0))
    _register_labelled(to, stats)


def _register_labelled(to: Metrics, stats: WorkerStats) -> None:
    dispatch, outcomes, tenure = stats.dispatch, stats.outcomes, stats.tenure
    to.register(*names.ATTEMPTS, lambda: _by("result", dispatch.results))
    to.register(*names.PUSH_TIME, lambda: {(("channel", "webhook"),): dispatch.push_time})
    to.register(*names.DEFERRED, lambda: _by("reason", dispatch.deferred))
    to.register(*names.LANE_WAITS, lambda: _by("limit", _reached(stats).waits))
    to.register(*names.LANES_FULL, lambda: _by("limit", _reached(stats).full))
    to.register(*names.PINGS, lambda: _by("result", stats.pings.results))
    to.register(*names.CHALLENGES, lambda: _by("result", stats.challenges.results))
    to.register(*names.CHALLENGES_LIMITED, lambda: _by("limit", stats.challenges.limited))
    to.register(*names.UNVERIFIED, lambda: stats.targets.unverified if stats.targets else 0)
    to.register(*names.ENDPOINT_NOTICES, lambda: _by("notice", dispatch.notices))
    to.register(*names.DELIVERIES_SETTLED, lambda: _states(dispatch.states))
    to.register(*names.DEAD_LETTERS, lambda: dispatch.states[State.DEAD.value])
    to.register(*names.BREAKERS_OPEN, lambda: stats.targets.open if stats.targets else 0)
    to.register(
        *names.OUTCOMES,
        lambda: _by("result", {"written": outcomes.written, "refused": outcomes.refused}),
    )
    to.register(*names.DROPPED, lambda: _by("limit", outcomes.made_room()))
    to.register(*names.LEASES_HELD, lambda: _by("role", tenure.owned))
    to.register(*names.LEASES_TAKEN, lambda: _by("role", tenure.taken))
    to.register(*names.LEASES_RELEASED, lambda: _by("role", tenure.released))
    to.register(*names.LEASES_LOST, lambda: _by("role", tenure.lost))
    to.register(*names.TAKEN_OVER, lambda: _by("role", _taken_over(stats)))
    to.register(*names.STORE_WAITS, lambda: _by("loop", _store_waits(stats)))


def _reached(stats: WorkerStats) -> Reached:
    return Reached() if stats.lanes is None else stats.lanes.reached


def _taken_over(stats: WorkerStats) -> dict[str, int]:
    return {"fanout": stats.fanout.takeovers, "sender": stats.sender.takeovers}


def _store_waits(stats: WorkerStats) -> dict[str, int]:
    return {
        "fanout": stats.fanout.failures,
        "sender": stats.sender.failures,
        "outcomes": stats.outcomes.failures,
        "janitor": stats.janitor.failures,
        "leases": stats.tenure.failures,
        "watcher": stats.watcher.failures,
    }


def _by(label: str, counts: Mapping[str, int]) -> dict[Labels, float]:
    return {((label, key),): count for key, count in counts.items()}


def _states(counts: Mapping[str, int]) -> dict[Labels, float]:
    """The words for states are those of the API; parked ones are told apart here."""
    return {(("state", State(letter).name.lower()),): count for letter, count in counts.items()}

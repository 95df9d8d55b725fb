"""Metrics: their names, and how they are read when somebody scrapes.

Hot paths count in plain ints of their own (a stats object, a `Histogram`) and never touch the
Prometheus client: each metric is a function that is called once a scrape.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]  # (("state", "open"), …): the same names in every entry
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """A metric's name (with its unit), kind and help: `register(*METRIC, read)`."""

    name: str
    kind: Kind
    help: str


# Units: _seconds, _bytes, else a plain number. Counters end in _total.

BUILD = Metric("moments_build_info", Kind.GAUGE, "Always 1; the labels tell version and role.")
STARTED = Metric(
    "moments_started_seconds", Kind.GAUGE, "When this process was ready to work, in Unix time."
)

# api
REQUESTS = Metric("moments_api_requests_total", Kind.COUNTER, "Requests answered, by status.")
REQUEST_TIME = Metric(
    "moments_api_request_seconds",
    Kind.HISTOGRAM,
    "From a request's head to the end of its answer; long polls and pings are left out.",
)
REQUESTS_OPEN = Metric("moments_api_requests_open", Kind.GAUGE, "Requests being answered.")
PROBLEMS = Metric("moments_api_problems_total", Kind.COUNTER, "Error answers, by kind of problem.")
API_CONNECTIONS_OPEN = Metric(
    "moments_api_connections_open", Kind.GAUGE, "Connections of clients to the api."
)
API_CONNECTIONS_STALLED = Metric(
    "moments_api_connections_stalled_total",
    Kind.COUNTER,
    "Connections cut because their client read nothing of its answer.",
)
FEED_WAITS = Metric("moments_api_feed_waits_open", Kind.GAUGE, "Long polls that are waiting.")
FEED_WAITS_REFUSED = Metric(
    "moments_api_feed_waits_refused_total",
    Kind.COUNTER,
    "Long polls turned away, by the limit reached.",
)
RATE_REFUSED = Metric(
    "moments_api_rate_refused_total",
    Kind.COUNTER,
    "Requests, posts and guesses that were more than a rate allows, by the limit reached.",
)
RATE_NAMES = Metric(
    "moments_api_rate_names",
    Kind.GAUGE,
    "Users, keys, authors and addresses whose rate is known, by limit.",
)
RATE_NAMES_FORGOTTEN = Metric(
    "moments_api_rate_names_forgotten_total",
    Kind.COUNTER,
    "Users, keys, authors and addresses that made room for others before they had all back.",
)
CONSOLE_SOCKETS_OPEN = Metric(
    "moments_console_sockets_open", Kind.GAUGE, "Browsers that watch the console live."
)
CONSOLE_LIMITS = Metric(
    "moments_console_limits_total",
    Kind.COUNTER,
    "Times that what browsers watch, or say, was more than may be, by the limit reached.",
)
POSTS_ACCEPTED = Metric("moments_posts_accepted_total", Kind.COUNTER, "Posts answered with 202.")
POSTS_REFUSED = Metric(
    "moments_posts_refused_total", Kind.COUNTER, "Posts turned away because the backlog is full."
)

# gateway and sender
PUSH_TIME = Metric(
    "moments_push_seconds",
    Kind.HISTOGRAM,
    "From the acceptance of a post, an edit or a deletion to its push, by channel; what a socket "
    "is given from its inbox, and what was replayed, is left out.",
)

# gateway
SOCKETS_OPEN = Metric("moments_sockets_open", Kind.GAUGE, "Sockets that are open.")
SOCKETS_ACCEPTED = Metric("moments_sockets_accepted_total", Kind.COUNTER, "Sockets opened.")
SOCKETS_CLOSED = Metric("moments_sockets_closed_total", Kind.COUNTER, "Sockets closed, by code.")
SOCKETS_BEHIND = Metric(
    "moments_sockets_behind", Kind.GAUGE, "Sockets that read too slowly, fed from their inboxes."
)
FRAMES_SENT = Metric("moments_frames_sent_total", Kind.COUNTER, "Events written to sockets.")
SOCKET_BYTES_SENT = Metric("moments_socket_sent_bytes_total", Kind.COUNTER, "Bytes to sockets.")
ACKS = Metric("moments_acks_total", Kind.COUNTER, "Acknowledgements taken from clients.")
REPUSHES = Metric("moments_repushes_total", Kind.COUNTER, "Unacknowledged events pushed again.")
SOCKET_USERS = Metric("moments_socket_users", Kind.GAUGE, "Users with a socket here.")
SOCKETS_REFUSED = Metric(
    "moments_sockets_refused_total", Kind.COUNTER, "Sockets turned away, by the limit reached."
)
SOCKETS_FALLEN_BEHIND = Metric(
    "moments_sockets_fallen_behind_total", Kind.COUNTER, "Times a socket took no more."
)
HANDSHAKES_OPEN = Metric("moments_handshakes_open", Kind.GAUGE, "Connections not sockets yet.")
HANDSHAKES_TIMED_OUT = Metric(
    "moments_handshakes_timed_out_total", Kind.COUNTER, "Connections cut before their request."
)
TOKENS_AWAITED = Metric(
    "moments_tokens_awaited", Kind.GAUGE, "Sockets whose token is still to come, as a message."
)
CONNECTIONS_REFUSED = Metric(
    "moments_connections_refused_total", Kind.COUNTER, "Connections cut unread: too many at once."
)
GATEWAY_REQUESTS = Metric(
    "moments_gateway_requests_total", Kind.COUNTER, "Answers over HTTP by a gateway, by status."
)
INBOX_PAGES_READ = Metric(
    "moments_inbox_pages_read_total", Kind.COUNTER, "Pages of inboxes read for sockets behind."
)
GAPS = Metric("moments_gaps_total", Kind.COUNTER, "Gaps told to clients: offsets trimmed away.")
RESETS = Metric("moments_resets_total", Kind.COUNTER, "Clients whose offset meant nothing here.")
REPEATS = Metric("moments_repeats_total", Kind.COUNTER, "Events pushed once more on request.")
REPEATS_DROPPED = Metric(
    "moments_repeats_dropped_total", Kind.COUNTER, "Requests to push once more beyond the limit."
)
GATEWAY_OVERFLOWS = Metric(
    "moments_gateway_overflows_total",
    Kind.COUNTER,
    "Shards whose sockets went on from their inboxes because pushes may have been lost.",
)
GATEWAY_STORE_FAILURES = Metric(
    "moments_gateway_store_failures_total",
    Kind.COUNTER,
    "Work of a gateway that the store did not answer, and that was tried again.",
)

# fan-out
SLICES = Metric("moments_slices_total", Kind.COUNTER, "Slices fanned out.")
RECIPIENTS = Metric("moments_recipients_total", Kind.COUNTER, "Recipients fanned out to.")
POSTS_FANNED_OUT = Metric("moments_posts_fanned_out_total", Kind.COUNTER, "Events fanned out.")
FAN_OUT_TIME = Metric(
    "moments_fan_out_seconds", Kind.HISTOGRAM, "From a post's acceptance to its last slice."
)
EVENTS_HELD = Metric("moments_events_held", Kind.GAUGE, "Events being fanned out, in memory.")
FANOUT_READS_PAUSED = Metric(
    "moments_fanout_reads_paused_total",
    Kind.COUNTER,
    "Rounds in which a shard left new events unread because it holds as many as it may.",
)
INBOXES_TRIMMED = Metric(
    "moments_inboxes_trimmed_total", Kind.COUNTER, "Times an inbox was full and lost its oldest."
)
WEBHOOKS = Metric("moments_webhooks_total", Kind.COUNTER, "Webhook deliveries fanned out.")
CANCELLED = Metric(
    "moments_cancelled_total", Kind.COUNTER, "Deliveries that a deletion found still waiting."
)

# sender
ATTEMPTS = Metric(
    "moments_attempts_total", Kind.COUNTER, "Webhook requests, by result (ok or the error class)."
)
ATTEMPT_TIME = Metric("moments_attempt_seconds", Kind.HISTOGRAM, "One webhook request.")
RETRY_LATENESS = Metric(
    "moments_retry_lateness_seconds", Kind.HISTOGRAM, "From when a retry was due to its request."
)
DELIVERIES_HELD = Metric("moments_deliveries_held", Kind.GAUGE, "Deliveries held in memory.")
ATTEMPTS_OPEN = Metric("moments_attempts_open", Kind.GAUGE, "Webhook requests under way.")
CONNECTIONS_OPEN = Metric("moments_connections_open", Kind.GAUGE, "Connections to receivers.")
CONNECTIONS_MADE = Metric(
    "moments_connections_made_total", Kind.COUNTER, "Connections made to receivers."
)
DEAD_LETTERS = Metric("moments_dead_letters_total", Kind.COUNTER, "Deliveries given up.")
DEFERRED = Metric(
    "moments_deferred_total", Kind.COUNTER, "Deliveries put off by back-pressure, by reason."
)
BREAKERS_OPEN = Metric("moments_breakers_open", Kind.GAUGE, "Endpoints whose breaker is open.")
DELIVERIES_WAITING = Metric(
    "moments_deliveries_waiting", Kind.GAUGE, "Deliveries in the lanes, waiting for their turn."
)
LANE_WAITS = Metric(
    "moments_lane_waits_total",
    Kind.COUNTER,
    "Times an endpoint's next delivery had to wait for its turn, by the limit reached.",
)
LANES_FULL = Metric(
    "moments_lanes_full_total",
    Kind.COUNTER,
    "Deliveries put back on the schedule for want of room in memory, by the limit reached.",
)
DELIVERY_READS_PAUSED = Metric(
    "moments_delivery_reads_paused_total",
    Kind.COUNTER,
    "Times a shard read no further because this sender holds as much as it may.",
)
DELIVERIES_SETTLED = Metric(
    "moments_deliveries_settled_total", Kind.COUNTER, "What became of deliveries, by state."
)
DELIVERIES_EXPIRED = Metric(
    "moments_deliveries_expired_total",
    Kind.COUNTER,
    "Entries whose delivery was over already, or is no longer kept.",
)
ATTEMPTS_SLOW = Metric(
    "moments_attempts_slow", Kind.GAUGE, "Webhook requests under way to slow endpoints."
)
ENTRIES_READ = Metric(
    "moments_entries_read_total", Kind.COUNTER, "Entries of the delivery streams read."
)
RETRIES_MOVED = Metric(
    "moments_retries_moved_total", Kind.COUNTER, "Deliveries moved to the stream when due."
)
RETRY_MOVES_FULL = Metric(
    "moments_retry_moves_full_total",
    Kind.COUNTER,
    "Moves of due deliveries that took a full batch.",
)
RETRY_STREAM_FULL = Metric(
    "moments_retry_stream_full_total",
    Kind.COUNTER,
    "Moves of due deliveries that found no room in the stream.",
)
OUTCOMES = Metric(
    "moments_outcomes_total",
    Kind.COUNTER,
    "Outcomes of deliveries: written, or refused as another worker's or too late.",
)
OUTCOME_BATCHES = Metric("moments_outcome_batches_total", Kind.COUNTER, "Batches of outcomes.")
OUTCOME_BATCHES_FULL = Metric(
    "moments_outcome_batches_full_total",
    Kind.COUNTER,
    "Batches of outcomes that were full.",
)
DROPPED = Metric(
    "moments_dropped_total",
    Kind.COUNTER,
    "Deliveries that a full list made room for: parked ones now dead letters, dead letters gone.",
)
CHALLENGES = Metric(
    "moments_challenges_total",
    Kind.COUNTER,
    "Challenges to endpoints, by result (ok or the error class).",
)
CHALLENGES_LIMITED = Metric(
    "moments_challenges_limited_total",
    Kind.COUNTER,
    "Challenges that were put off or refused, by the limit reached.",
)
UNVERIFIED = Metric(
    "moments_endpoints_unverified",
    Kind.GAUGE,
    "Endpoints of this sender's shards that have not echoed a challenge yet, as far as known here.",
)
PINGS = Metric("moments_pings_total", Kind.COUNTER, "Pings of endpoints, by result.")
ENDPOINT_NOTICES = Metric(
    "moments_endpoint_notices_total", Kind.COUNTER, "Changes of endpoints' health, by kind."
)
CONNECTIONS_IDLE = Metric("moments_connections_idle", Kind.GAUGE, "Connections kept, unused now.")
CONNECTIONS_REUSED = Metric(
    "moments_connections_reused_total", Kind.COUNTER, "Requests on a connection used before."
)
CONNECTIONS_EVICTED = Metric(
    "moments_connections_evicted_total", Kind.COUNTER, "Idle connections closed for another."
)
CONNECTIONS_EXPIRED = Metric(
    "moments_connections_expired_total",
    Kind.COUNTER,
    "Connections closed after no use for long.",
)
CONNECTIONS_INTRUDED = Metric(
    "moments_connections_intruded_total", Kind.COUNTER, "Idle connections that brought something."
)
CONNECTION_WAITS = Metric(
    "moments_connection_waits", Kind.GAUGE, "Webhook requests that wait for a connection."
)
ATTEMPTS_RESENT = Metric(
    "moments_attempts_resent_total",
    Kind.COUNTER,
    "Requests sent once more because the kept connection had just been closed.",
)
ATTEMPTS_REFUSED = Metric(
    "moments_attempts_refused_total",
    Kind.COUNTER,
    "Requests that found no connection and no room to wait for one.",
)
ANSWERS_CUT = Metric(
    "moments_answers_cut_total", Kind.COUNTER, "Answers whose body was too long to be read."
)

# janitor
NODES_REMOVED = Metric("moments_nodes_removed_total", Kind.COUNTER, "Dead gateways cleared away.")
ROUTES_CLEANED = Metric(
    "moments_routes_cleaned_total", Kind.COUNTER, "Routes that named a dead gateway."
)
DEAD_EXPIRED = Metric(
    "moments_dead_letters_expired_total", Kind.COUNTER, "Dead letters whose retention is over."
)

# every worker
LEASES_HELD = Metric("moments_leases_held", Kind.GAUGE, "Shards owned, by role.")
LEASES_LOST = Metric(
    "moments_leases_lost_total", Kind.COUNTER, "Shards lost to another worker, by role."
)
LEASES_TAKEN = Metric("moments_leases_taken_total", Kind.COUNTER, "Shards taken, by role.")
LEASES_RELEASED = Metric("moments_leases_released_total", Kind.COUNTER, "Shards let go, by role.")
TAKEN_OVER = Metric(
    "moments_taken_over_total",
    Kind.COUNTER,
    "Entries read again: in flight with the last owner, or in an answer that was lost; by role.",
)
STORE_WAITS = Metric(
    "moments_store_waits_total", Kind.COUNTER, "Times a loop had to wait for the store, by loop."
)

# store, as seen from here
STORE_CALLS = Metric("moments_store_calls_total", Kind.COUNTER, "Commands sent to the store.")
STORE_ERRORS = Metric(
    "moments_store_errors_total", Kind.COUNTER, "Commands that the store failed to answer."
)

METRICS: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)

TIME_BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# From acceptance to push: a webhook may be pushed by its last retry, days later.
PUSH_BOUNDS_S: Final = (*TIME_BOUNDS_S, 300.0, 1_800.0, 10_800.0, 86_400.0)


@dataclass(slots=True)
class Histogram:
    """Counts of observed values by upper bound: one bisection and two additions each."""

    bounds: tuple[float, ...] = TIME_BOUNDS_S
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Counts a value, at once for all of the `times` it was seen."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them; the last bound is +Inf."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


Value = float | Histogram
Read = Callable[[], Value | Mapping[Labels, float] | Mapping[Labels, Histogram]]


def _family(metric: Metric, read: Read) -> Family:
    value = read()
    entries: Mapping[Labels, Value] = value if isinstance(value, Mapping) else {(): value}
    names = [name for name, _ in next(iter(entries), ())]
    match metric.kind:
        case Kind.HISTOGRAM:
            family = HistogramMetricFamily(metric.name, metric.help, labels=names)
        case Kind.COUNTER:
            family = CounterMetricFamily(metric.name, metric.help, labels=names)
        case Kind.GAUGE:
            family = GaugeMetricFamily(metric.name, metric.help, labels=names)
    for labels, entry in entries.items():
        values = [value for _, value in labels]
        if isinstance(family, HistogramMetricFamily):
            assert isinstance(entry, Histogram)
            family.add_metric(values, entry.buckets(), entry.sum)
        else:
            assert not isinstance(entry, Histogram)
            family.add_metric(values, entry)
    return family


class Metrics(Collector):
    """The metrics of one process: its own, and what is registered here."""

    def __init__(self) -> None:
        self._reads: dict[str, tuple[Metric, Read]] = {}
        self._registry = CollectorRegistry(support_collectors_without_names=True)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def register(self, name: str, kind: Kind, help: str, read: Read) -> None:
        """Adds a metric whose value is what `read` returns when somebody scrapes.

        `read` returns a number, a `Histogram`, or a mapping of `Labels` to either. Raises
        ValueError for a name that is taken or that does not say what the metric is.
        """
        if name in self._reads:
            raise ValueError(f"the metric {name} is registered already")
        if not name.startswith("moments_") or (kind is Kind.COUNTER) != name.endswith("_total"):
            raise ValueError(f"{name}: begin with moments_; end in _total exactly for counters")
        self._reads[name] = (Metric(name, kind, help), read)

    def register_stats(self, stats: object, fields: Mapping[str, Metric]) -> None:
        """Adds one metric for each attribute of `stats` that `fields` names.

        Raises AttributeError at once when `stats` has no such attribute.
        """
        for name, metric in fields.items():
            getattr(stats, name)
            self.register(*metric, lambda name=name: getattr(stats, name))

    def read(self, metric: Metric) -> Value | Mapping[Labels, float] | Mapping[Labels, Histogram]:
        """What a metric says now. Raises KeyError when it is not registered here."""
        return self._reads[metric.name][1]()

    def __contains__(self, metric: Metric) -> bool:
        return metric.name in self._reads

    def collect(self) -> Iterable[Family]:
        return [_family(metric, read) for metric, read in self._reads.values()]

    def render(self) -> bytes:
        """Everything in Prometheus' text format; send it as `CONTENT_TYPE`."""
        return generate_latest(self._registry)

"""What the dashboard shows: rows of panels, each with its queries and what to read from it."""

from typing import NamedTuple

# Units as Grafana names them.
SECONDS, BYTES, COUNT = "s", "bytes", "short"
PER_S, BYTES_PER_S, SHARE = "cps", "Bps", "percentunit"


class Query(NamedTuple):
    """PromQL, and what its series are called: `{{label}}` stands for a label's value."""

    expr: str
    legend: str


class Panel(NamedTuple):
    title: str
    unit: str
    text: str  # what to read from it
    queries: tuple[Query, ...]


class Row(NamedTuple):
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{where}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    buckets = f"rate({metric}_bucket{where}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by ({labels}) ({buckets}))"


def quantiles(metric: str, where: str = "") -> tuple[Query, ...]:
    return tuple(
        Query(quantile(q, metric, where=where), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)
    )


def panel(title: str, unit: str, text: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, unit, text, tuple(Query(*query) for query in queries))


OVERVIEW = Row(
    "Overview",
    (
        panel(
            "Deliveries by channel",
            PER_S,
            "Pushes that reached a socket or a receiver.",
            (rate("moments_push_seconds_count", "channel"), "{{channel}}"),
        ),
        panel(
            "Time to push, p99",
            SECONDS,
            "From a post's acceptance. A webhook that is tried again counts when it succeeds.",
            (quantile(0.99, "moments_push_seconds", "channel"), "{{channel}}"),
        ),
        panel(
            "Time to push, p50",
            SECONDS,
            "The same for half of them.",
            (quantile(0.5, "moments_push_seconds", "channel"), "{{channel}}"),
        ),
        panel(
            "Waiting, by queue",
            COUNT,
            "Entries of all shards. Posts and deliveries near 0 are a service that keeps up.",
            ("sum by (queue) (moments_queue_entries)", "{{queue}}"),
        ),
        panel(
            "Age of the oldest, by queue",
            SECONDS,
            "What waits longest, of all shards. This grows first when something does not move.",
            ("max by (queue) (moments_queue_oldest_seconds)", "{{queue}}"),
        ),
        panel(
            "Canary",
            SECONDS,
            "Age of the newest mark that came through all streams: some seconds.",
            ("max (moments_canary_age_seconds)", "age"),
        ),
    ),
)

POSTS = Row(
    "Posts and fan-out",
    (
        panel(
            "Posts",
            PER_S,
            "Accepted by the api, and fanned out (edits and deletions too).",
            (rate("moments_posts_accepted_total"), "accepted"),
            (rate("moments_posts_fanned_out_total"), "fanned out"),
            (rate("moments_posts_refused_total"), "refused: backlog full"),
        ),
        Panel(
            "From acceptance to the last slice",
            SECONDS,
            "How long a whole fan-out takes.",
            quantiles("moments_fan_out_seconds"),
        ),
        panel(
            "Recipients",
            PER_S,
            "Inboxes written to, and webhook deliveries made.",
            (rate("moments_recipients_total"), "recipients"),
            (rate("moments_webhooks_total"), "webhooks"),
            (rate("moments_cancelled_total"), "cancelled by deletion"),
        ),
        panel(
            "Requests, by status",
            PER_S,
            "Answers of the api.",
            (rate("moments_api_requests_total", "status"), "{{status}}"),
        ),
        Panel(
            "Time to answer",
            SECONDS,
            "Of the api, long polls left out.",
            quantiles("moments_api_request_seconds"),
        ),
        panel(
            "Turned away, by kind",
            PER_S,
            "Error answers of the api; whoever calls is to blame for most.",
            (rate("moments_api_problems_total", "kind"), "{{kind}}"),
        ),
    ),
)

WEBHOOKS = Row(
    "Webhooks",
    (
        panel(
            "Attempts, by result",
            PER_S,
            "`ok`, or the class of the failure.",
            (rate("moments_attempts_total", "result"), "{{result}}"),
        ),
        Panel(
            "Time of one attempt",
            SECONDS,
            "Receivers' time, mostly.",
            quantiles("moments_attempt_seconds"),
        ),
        panel(
            "Under way",
            COUNT,
            "Requests that are open, those to slow endpoints, and what waits for its turn.",
            ("sum (moments_attempts_open)", "under way"),
            ("sum (moments_attempts_slow)", "of these to slow endpoints"),
            ("sum (moments_deliveries_waiting)", "waiting in lanes"),
            ("sum (moments_deliveries_held)", "held in memory"),
        ),
        panel(
            "Endpoints, by state",
            COUNT,
            "Open ones are left alone for a while; disabled ones until they answer again.",
            ("sum by (state) (moments_endpoints)", "{{state}}"),
        ),
        panel(
            "Put off, by reason",
            PER_S,
            "Deliveries that back-pressure kept from being sent; no attempt is spent.",
            (rate("moments_deferred_total", "reason"), "{{reason}}"),
        ),
        panel(
            "Connections to receivers",
            PER_S,
            "A new one costs many times a request: most should be reused.",
            (rate("moments_connections_made_total"), "made"),
            (rate("moments_connections_reused_total"), "reused"),
            (rate("moments_connections_evicted_total"), "evicted"),
        ),
    ),
)

SOCKETS = Row(
    "Sockets",
    (
        panel(
            "Open sockets",
            COUNT,
            "By gateway.",
            ("sum by (instance) (moments_sockets_open)", "{{instance}}"),
            ("sum (moments_sockets_behind)", "behind, all"),
        ),
        panel(
            "Events and bytes",
            PER_S,
            "What gateways write.",
            (rate("moments_frames_sent_total"), "events"),
            (rate("moments_repushes_total"), "pushed again"),
        ),
        panel(
            "Closed, by code",
            PER_S,
            "4408 are readers that were too slow; from 4500 on a client is not to come back.",
            (rate("moments_sockets_closed_total", "code"), "{{code}}"),
        ),
        panel(
            "Refused, by limit",
            PER_S,
            "Sockets and connections turned away.",
            (rate("moments_sockets_refused_total", "limit"), "{{limit}}"),
            (rate("moments_connections_refused_total"), "handshakes"),
        ),
        panel(
            "Catching up",
            PER_S,
            "Pages read from inboxes, and what clients are told is gone.",
            (rate("moments_inbox_pages_read_total"), "pages"),
            (rate("moments_gaps_total"), "gaps"),
            (rate("moments_gateway_overflows_total"), "overflows"),
        ),
        panel(
            "Bytes",
            BYTES_PER_S,
            "Written to sockets.",
            (rate("moments_socket_sent_bytes_total", "instance"), "{{instance}}"),
        ),
    ),
)

RETRIES = Row(
    "Retries and dead letters",
    (
        panel(
            "Settled, by state",
            PER_S,
            "What became of deliveries at each attempt.",
            (rate("moments_deliveries_settled_total", "state"), "{{state}}"),
        ),
        Panel(
            "Lateness of retries",
            SECONDS,
            "From when one was due to its request.",
            quantiles("moments_retry_lateness_seconds"),
        ),
        panel(
            "Dead letters",
            PER_S,
            "Given up, dropped because a list was full, and gone after the retention.",
            (rate("moments_dead_letters_total"), "given up"),
            (rate("moments_dropped_total"), "dropped"),
            (rate("moments_dead_letters_expired_total"), "expired"),
        ),
        panel(
            "Scheduled",
            COUNT,
            "Retries that are to come, and dead letters kept, by shard.",
            ('sum by (shard) (moments_queue_entries{queue="retries"})', "retries {{shard}}"),
            ('sum by (shard) (moments_queue_entries{queue="dead"})', "dead {{shard}}"),
        ),
        panel(
            "Overdue",
            SECONDS,
            "For how long the first retry of a shard has been due.",
            ('max by (shard) (moments_queue_oldest_seconds{queue="retries"})', "{{shard}}"),
        ),
        panel(
            "Notices, by kind",
            PER_S,
            "Endpoints that were opened, closed, paused, disabled, enabled.",
            (rate("moments_endpoint_notices_total", "notice"), "{{notice}}"),
        ),
    ),
)

STORE = Row(
    "Store",
    (
        panel(
            "Memory",
            BYTES,
            "Of each server, and what it may take. Full, it refuses writes.",
            ("max by (server) (moments_store_memory_bytes)", "{{server}}"),
            ("max by (server) (moments_store_memory_max_bytes)", "{{server}} may take"),
        ),
        panel(
            "Round trip, p99",
            SECONDS,
            "As seen from each process.",
            (quantile(0.99, "moments_store_round_trip_seconds", "ack, job"), "{{job}} {{ack}}"),
        ),
        panel(
            "Commands",
            PER_S,
            "Sent, and not answered or refused.",
            (rate("moments_store_calls_total", "job"), "{{job}}"),
            (rate("moments_store_errors_total"), "errors"),
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        panel(
            "CPU",
            SHARE,
            "Of one core. A process has one thread that works: 1 is all it can.",
            (
                "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))",
                "{{instance}}",
            ),
        ),
        panel(
            "Memory",
            BYTES,
            "Resident.",
            ("sum by (instance) (process_resident_memory_bytes)", "{{instance}}"),
        ),
        panel(
            "Loop lag, p99",
            SECONDS,
            "How late the event loop comes to a task.",
            (quantile(0.99, "moments_loop_lag_seconds", "instance"), "{{instance}}"),
        ),
        panel(
            "Leases held, by role",
            COUNT,
            "All of a role's shards, when all is well.",
            ("sum by (role) (moments_leases_held)", "{{role}}"),
            ("sum by (role) (max by (role, shard) (moments_leases_unowned))", "{{role}}: nobody's"),
        ),
        panel(
            "Leases changing hands",
            PER_S,
            "Near 0 but for starts and stops.",
            (rate("moments_leases_taken_total", "role"), "{{role}} taken"),
            (rate("moments_leases_lost_total", "role"), "{{role}} lost"),
        ),
        panel(
            "Versions",
            COUNT,
            "Processes by role and version: more than one version while you upgrade.",
            ("count by (role, version) (moments_build_info)", "{{role}} {{version}}"),
        ),
    ),
)

ROWS = (OVERVIEW, POSTS, WEBHOOKS, SOCKETS, RETRIES, STORE, PROCESSES)

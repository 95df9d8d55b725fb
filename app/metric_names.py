"""Every metric of the service, in one list. docs/metrics.md is made of it.

A name stands here once, and `app.metrics` takes no other: whoever counts something new adds it
here, with the labels that it will have.
"""

from typing import Final

from app.metric import (
    API,
    EVERY,
    GATEWAY,
    PUSHERS,
    WORKER,
    Metric,
    Unit,
    counter,
    gauge,
    histogram,
)

# every process
BUILD = gauge(
    EVERY, "moments_build_info", "Always 1; the labels tell version and role.", "version", "role"
)
STARTED = gauge(
    EVERY,
    "moments_started_seconds",
    "When this process was ready to work, in Unix time.",
    unit=Unit.SECONDS,
)
LOOP_LAG = histogram(
    EVERY,
    "moments_loop_lag_seconds",
    "How much later than asked for the event loop came to a task, looked at four times a second.",
)
SPANS = counter(
    EVERY,
    "moments_trace_spans_total",
    "Spans of traces, by what became of them: exported, failed (the collector did not take them) "
    "or dropped (too many waited for it).",
    "result",
)

# api
REQUESTS = counter(API, "moments_api_requests_total", "Requests answered, by status.", "status")
REQUEST_TIME = histogram(
    API,
    "moments_api_request_seconds",
    "From a request's head to the end of its answer; long polls and pings are left out.",
)
REQUESTS_OPEN = gauge(API, "moments_api_requests_open", "Requests being answered.")
PROBLEMS = counter(API, "moments_api_problems_total", "Error answers, by kind of problem.", "kind")
API_CONNECTIONS_OPEN = gauge(
    API, "moments_api_connections_open", "Connections of clients to the api."
)
API_CONNECTIONS_STALLED = counter(
    API,
    "moments_api_connections_stalled_total",
    "Connections cut because their client read nothing of its answer.",
)
FEED_WAITS = gauge(API, "moments_api_feed_waits_open", "Long polls that are waiting.")
FEED_WAITS_REFUSED = counter(
    API,
    "moments_api_feed_waits_refused_total",
    "Long polls turned away, by the limit reached.",
    "limit",
)
RATE_REFUSED = counter(
    API,
    "moments_api_rate_refused_total",
    "Requests, posts and guesses that were more than a rate allows, by the limit reached.",
    "limit",
)
RATE_NAMES = gauge(
    API,
    "moments_api_rate_names",
    "Users, keys, authors and addresses whose rate is known, by limit.",
    "limit",
)
RATE_NAMES_FORGOTTEN = counter(
    API,
    "moments_api_rate_names_forgotten_total",
    "Users, keys, authors and addresses that made room for others before they had all back.",
    "limit",
)
CONSOLE_SOCKETS_OPEN = gauge(
    API, "moments_console_sockets_open", "Browsers that watch the console live."
)
CONSOLE_LIMITS = counter(
    API,
    "moments_console_limits_total",
    "Times that what browsers watch, or say, was more than may be, by the limit reached.",
    "limit",
)
POSTS_ACCEPTED = counter(API, "moments_posts_accepted_total", "Posts answered with 202.")
POSTS_REFUSED = counter(
    API, "moments_posts_refused_total", "Posts turned away because the backlog is full."
)
CANARY_AGE = gauge(
    API,
    "moments_canary_age_seconds",
    "Age of the newest mark that came through the streams; since the start, while none has.",
    unit=Unit.SECONDS,
)

# gateway and sender
PUSH_TIME = histogram(
    PUSHERS,
    "moments_push_seconds",
    "From the acceptance of a post, an edit or a deletion to its push, by channel; what a socket "
    "is given from its inbox, and what was replayed, is left out.",
    "channel",
)

# gateway
SOCKETS_OPEN = gauge(GATEWAY, "moments_sockets_open", "Sockets that are open.")
SOCKETS_ACCEPTED = counter(GATEWAY, "moments_sockets_accepted_total", "Sockets opened.")
SOCKETS_CLOSED = counter(
    GATEWAY, "moments_sockets_closed_total", "Sockets closed, by code.", "code"
)
SOCKETS_BEHIND = gauge(
    GATEWAY, "moments_sockets_behind", "Sockets that read too slowly, fed from their inboxes."
)
FRAMES_SENT = counter(GATEWAY, "moments_frames_sent_total", "Events written to sockets.")
SOCKET_BYTES_SENT = counter(
    GATEWAY, "moments_socket_sent_bytes_total", "Bytes to sockets.", unit=Unit.BYTES
)
ACKS = counter(GATEWAY, "moments_acks_total", "Acknowledgements taken from clients.")
REPUSHES = counter(GATEWAY, "moments_repushes_total", "Unacknowledged events pushed again.")
SOCKET_USERS = gauge(GATEWAY, "moments_socket_users", "Users with a socket here.")
SOCKETS_REFUSED = counter(
    GATEWAY, "moments_sockets_refused_total", "Sockets turned away, by the limit reached.", "limit"
)
SOCKETS_FALLEN_BEHIND = counter(
    GATEWAY, "moments_sockets_fallen_behind_total", "Times a socket took no more."
)
HANDSHAKES_OPEN = gauge(GATEWAY, "moments_handshakes_open", "Connections not sockets yet.")
HANDSHAKES_TIMED_OUT = counter(
    GATEWAY, "moments_handshakes_timed_out_total", "Connections cut before their request."
)
TOKENS_AWAITED = gauge(
    GATEWAY, "moments_tokens_awaited", "Sockets whose token is still to come, as a message."
)
CONNECTIONS_REFUSED = counter(
    GATEWAY, "moments_connections_refused_total", "Connections cut unread: too many at once."
)
GATEWAY_REQUESTS = counter(
    GATEWAY,
    "moments_gateway_requests_total",
    "Answers over HTTP by a gateway, by status.",
    "status",
)
INBOX_PAGES_READ = counter(
    GATEWAY, "moments_inbox_pages_read_total", "Pages of inboxes read for sockets behind."
)
GAPS = counter(GATEWAY, "moments_gaps_total", "Gaps told to clients: offsets trimmed away.")
RESETS = counter(GATEWAY, "moments_resets_total", "Clients whose offset meant nothing here.")
REPEATS = counter(GATEWAY, "moments_repeats_total", "Events pushed once more on request.")
REPEATS_DROPPED = counter(
    GATEWAY, "moments_repeats_dropped_total", "Requests to push once more beyond the limit."
)
GATEWAY_OVERFLOWS = counter(
    GATEWAY,
    "moments_gateway_overflows_total",
    "Shards whose sockets went on from their inboxes because pushes may have been lost.",
)
GATEWAY_STORE_FAILURES = counter(
    GATEWAY,
    "moments_gateway_store_failures_total",
    "Work of a gateway that the store did not answer, and that was tried again.",
)

# fan-out
SLICES = counter(WORKER, "moments_slices_total", "Slices fanned out.")
RECIPIENTS = counter(WORKER, "moments_recipients_total", "Recipients fanned out to.")
POSTS_FANNED_OUT = counter(WORKER, "moments_posts_fanned_out_total", "Events fanned out.")
FAN_OUT_TIME = histogram(
    WORKER, "moments_fan_out_seconds", "From a post's acceptance to its last slice."
)
EVENTS_HELD = gauge(WORKER, "moments_events_held", "Events being fanned out, in memory.")
FANOUT_READS_PAUSED = counter(
    WORKER,
    "moments_fanout_reads_paused_total",
    "Rounds in which a shard left new events unread because it holds as many as it may.",
)
INBOXES_TRIMMED = counter(
    WORKER, "moments_inboxes_trimmed_total", "Times an inbox was full and lost its oldest."
)
WEBHOOKS = counter(WORKER, "moments_webhooks_total", "Webhook deliveries fanned out.")
CANCELLED = counter(
    WORKER, "moments_cancelled_total", "Deliveries that a deletion found still waiting."
)

# sender
ATTEMPTS = counter(
    WORKER,
    "moments_attempts_total",
    "Webhook requests, by result (ok or the error class).",
    "result",
)
ATTEMPT_TIME = histogram(WORKER, "moments_attempt_seconds", "One webhook request.")
RETRY_LATENESS = histogram(
    WORKER, "moments_retry_lateness_seconds", "From when a retry was due to its request."
)
DELIVERIES_HELD = gauge(WORKER, "moments_deliveries_held", "Deliveries held in memory.")
ATTEMPTS_OPEN = gauge(WORKER, "moments_attempts_open", "Webhook requests under way.")
CONNECTIONS_OPEN = gauge(WORKER, "moments_connections_open", "Connections to receivers.")
CONNECTIONS_MADE = counter(
    WORKER, "moments_connections_made_total", "Connections made to receivers."
)
DEAD_LETTERS = counter(WORKER, "moments_dead_letters_total", "Deliveries given up.")
DEFERRED = counter(
    WORKER, "moments_deferred_total", "Deliveries put off by back-pressure, by reason.", "reason"
)
BREAKERS_OPEN = gauge(WORKER, "moments_breakers_open", "Endpoints whose breaker is open.")
DELIVERIES_WAITING = gauge(
    WORKER, "moments_deliveries_waiting", "Deliveries in the lanes, waiting for their turn."
)
LANE_WAITS = counter(
    WORKER,
    "moments_lane_waits_total",
    "Times an endpoint's next delivery had to wait for its turn, by the limit reached.",
    "limit",
)
LANES_FULL = counter(
    WORKER,
    "moments_lanes_full_total",
    "Deliveries put back on the schedule for want of room in memory, by the limit reached.",
    "limit",
)
DELIVERY_READS_PAUSED = counter(
    WORKER,
    "moments_delivery_reads_paused_total",
    "Times a shard read no further because this sender holds as much as it may.",
)
DELIVERIES_SETTLED = counter(
    WORKER, "moments_deliveries_settled_total", "What became of deliveries, by state.", "state"
)
DELIVERIES_EXPIRED = counter(
    WORKER,
    "moments_deliveries_expired_total",
    "Entries whose delivery was over already, or is no longer kept.",
)
ATTEMPTS_SLOW = gauge(
    WORKER, "moments_attempts_slow", "Webhook requests under way to slow endpoints."
)
ENTRIES_READ = counter(
    WORKER, "moments_entries_read_total", "Entries of the delivery streams read."
)
RETRIES_MOVED = counter(
    WORKER, "moments_retries_moved_total", "Deliveries moved to the stream when due."
)
RETRY_MOVES_FULL = counter(
    WORKER, "moments_retry_moves_full_total", "Moves of due deliveries that took a full batch."
)
RETRY_STREAM_FULL = counter(
    WORKER,
    "moments_retry_stream_full_total",
    "Moves of due deliveries that found no room in the stream.",
)
OUTCOMES = counter(
    WORKER,
    "moments_outcomes_total",
    "Outcomes of deliveries: written, or refused as another worker's or too late.",
    "result",
)
OUTCOME_BATCHES = counter(WORKER, "moments_outcome_batches_total", "Batches of outcomes.")
OUTCOME_BATCHES_FULL = counter(
    WORKER, "moments_outcome_batches_full_total", "Batches of outcomes that were full."
)
DROPPED = counter(
    WORKER,
    "moments_dropped_total",
    "Deliveries that a full list made room for: parked ones now dead letters, dead letters gone.",
    "limit",
)
CHALLENGES = counter(
    WORKER,
    "moments_challenges_total",
    "Challenges to endpoints, by result (ok or the error class).",
    "result",
)
CHALLENGES_LIMITED = counter(
    WORKER,
    "moments_challenges_limited_total",
    "Challenges that were put off or refused, by the limit reached.",
    "limit",
)
UNVERIFIED = gauge(
    WORKER,
    "moments_endpoints_unverified",
    "Endpoints of this sender's shards that have not echoed a challenge yet, as far as known here.",
)
PINGS = counter(WORKER, "moments_pings_total", "Pings of endpoints, by result.", "result")
ENDPOINT_NOTICES = counter(
    WORKER, "moments_endpoint_notices_total", "Changes of endpoints' health, by kind.", "notice"
)
CONNECTIONS_IDLE = gauge(WORKER, "moments_connections_idle", "Connections kept, unused now.")
CONNECTIONS_REUSED = counter(
    WORKER, "moments_connections_reused_total", "Requests on a connection used before."
)
CONNECTIONS_EVICTED = counter(
    WORKER, "moments_connections_evicted_total", "Idle connections closed for another."
)
CONNECTIONS_EXPIRED = counter(
    WORKER, "moments_connections_expired_total", "Connections closed after no use for long."
)
CONNECTIONS_INTRUDED = counter(
    WORKER, "moments_connections_intruded_total", "Idle connections that brought something."
)
CONNECTION_WAITS = gauge(
    WORKER, "moments_connection_waits", "Webhook requests that wait for a connection."
)
ATTEMPTS_RESENT = counter(
    WORKER,
    "moments_attempts_resent_total",
    "Requests sent once more because the kept connection had just been closed.",
)
ATTEMPTS_REFUSED = counter(
    WORKER,
    "moments_attempts_refused_total",
    "Requests that found no connection and no room to wait for one.",
)
ANSWERS_CUT = counter(
    WORKER, "moments_answers_cut_total", "Answers whose body was too long to be read."
)

# janitor: read from the store for each shard it holds, every 10 s
QUEUE_ENTRIES = gauge(
    WORKER,
    "moments_queue_entries",
    "Entries of a shard's queue: posts, deliveries (a slice is one), redeliveries, retries, dead.",
    "queue",
    "shard",
)
QUEUE_AGE = gauge(
    WORKER,
    "moments_queue_oldest_seconds",
    "Age of the oldest entry of a shard's queue that waits or is in work; of retries, how long the "
    "first one has been due.",
    "queue",
    "shard",
    unit=Unit.SECONDS,
)
ENDPOINTS = gauge(
    WORKER, "moments_endpoints", "Endpoints of a shard's users, by state.", "state", "shard"
)
LEASES_UNOWNED = gauge(
    WORKER,
    "moments_leases_unowned",
    "1 while nobody holds a shard's lease in a role, else 0.",
    "role",
    "shard",
)
STORE_MEMORY = gauge(
    WORKER,
    "moments_store_memory_bytes",
    "Memory of a server of the store; read by the janitor of shard 0.",
    "server",
    unit=Unit.BYTES,
)
STORE_MEMORY_MAX = gauge(
    WORKER,
    "moments_store_memory_max_bytes",
    "What a server of the store may take: its maxmemory, or the machine's memory without one.",
    "server",
    unit=Unit.BYTES,
)
NODES_REMOVED = counter(WORKER, "moments_nodes_removed_total", "Dead gateways cleared away.")
ROUTES_CLEANED = counter(
    WORKER, "moments_routes_cleaned_total", "Routes that named a dead gateway."
)
DEAD_EXPIRED = counter(
    WORKER, "moments_dead_letters_expired_total", "Dead letters whose retention is over."
)

# every worker
LEASES_HELD = gauge(WORKER, "moments_leases_held", "Shards owned, by role.", "role")
LEASES_LOST = counter(
    WORKER, "moments_leases_lost_total", "Shards lost to another worker, by role.", "role"
)
LEASES_TAKEN = counter(WORKER, "moments_leases_taken_total", "Shards taken, by role.", "role")
LEASES_RELEASED = counter(
    WORKER, "moments_leases_released_total", "Shards let go, by role.", "role"
)
TAKEN_OVER = counter(
    WORKER,
    "moments_taken_over_total",
    "Entries read again: in flight with the last owner, or in an answer that was lost; by role.",
    "role",
)
STORE_WAITS = counter(
    WORKER, "moments_store_waits_total", "Times a loop had to wait for the store, by loop.", "loop"
)

# every process: the store as seen from here
STORE_CALLS = counter(EVERY, "moments_store_calls_total", "Commands and scripts sent to the store.")
STORE_ERRORS = counter(
    EVERY,
    "moments_store_errors_total",
    "Commands and scripts that the store did not answer, or refused.",
)
STORE_TIME = histogram(
    EVERY,
    "moments_store_round_trip_seconds",
    "From sending to the answer, by what was waited for: memory, fsync or replica. Reads that "
    "block on purpose are left out.",
    "ack",
)

METRICS: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)

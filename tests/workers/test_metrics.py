from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics
from workers.http.stats import Stats as HttpStats
from workers.lanes import Lanes, Limits
from workers.metrics import register
from workers.room import Room
from workers.supervisor import WorkerStats


def scraped(stats: WorkerStats) -> dict[tuple[str, ...], float]:
    """Values by the name of a metric and of its labels."""
    metrics = Metrics()
    register(metrics, stats)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_every_limit_that_a_worker_reaches_can_be_scraped():
    stats = WorkerStats()
    http = stats.http = HttpStats(())
    lanes = stats.lanes = Lanes(Limits())
    room = stats.room = Room(1)
    http.evicted_total, http.expired_total, http.refused_total, http.truncated_total = 1, 2, 3, 4
    http.waiting, room.paused, stats.fanout.paused, stats.fanout.trimmed = 5, 6, 7, 8
    stats.sender.moves_full, stats.sender.stream_full, stats.outcomes.batches_full = 9, 10, 11
    lanes.reached.waits["rate_per_s"] += 12
    lanes.reached.full["endpoint_queue_max"] += 13
    stats.dispatch.results["timeout"] += 14
    stats.outcomes.unparked, stats.outcomes.dropped = 15, 16
    stats.challenges.limited["challenges_per_host_max"] += 17
    stats.challenges.results["challenge"] += 18
    found = scraped(stats)
    for value, name in enumerate(
        (
            ("moments_connections_evicted_total",),
            ("moments_connections_expired_total",),
            ("moments_attempts_refused_total",),
            ("moments_answers_cut_total",),
            ("moments_connection_waits",),
            ("moments_delivery_reads_paused_total",),
            ("moments_fanout_reads_paused_total",),
            ("moments_inboxes_trimmed_total",),
            ("moments_retry_moves_full_total",),
            ("moments_retry_stream_full_total",),
            ("moments_outcome_batches_full_total",),
            ("moments_lane_waits_total", "rate_per_s"),
            ("moments_lanes_full_total", "endpoint_queue_max"),
            ("moments_attempts_total", "timeout"),
            ("moments_dropped_total", "parked_max"),
            ("moments_dropped_total", "dead_letters_max"),
            ("moments_challenges_limited_total", "challenges_per_host_max"),
            ("moments_challenges_total", "challenge"),
        ),
        1,
    ):
        assert found[name] == value, name


def test_how_long_pushes_took_is_told_of_the_channel():
    stats = WorkerStats()
    stats.dispatch.push_time.observe(7_200)
    found = scraped(stats)
    assert found["moments_push_seconds_bucket", "webhook", "1800.0"] == 0
    assert found["moments_push_seconds_bucket", "webhook", "10800.0"] == 1


def test_a_worker_that_sends_nothing_has_reached_no_limit_of_sending():
    found = scraped(WorkerStats())
    assert found["moments_delivery_reads_paused_total",] == 0
    assert not [name for name in found if name[0] == "moments_lane_waits_total"]

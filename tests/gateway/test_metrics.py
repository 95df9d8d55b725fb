from dataclasses import fields

from prometheus_client.parser import text_string_to_metric_families

from app.gateway.metrics import register
from app.gateway.stats import Stats
from app.metrics import Histogram, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith("moments_")
    }


def test_every_number_a_gateway_counts_can_be_scraped():
    metrics, stats = Metrics(), Stats()
    register(metrics, stats)
    for value, field in enumerate(fields(Stats), 1):
        if isinstance(getattr(stats, field.name), int):
            setattr(stats, field.name, value)
        elif not isinstance(getattr(stats, field.name), Histogram):
            getattr(stats, field.name)["4408"] = value
    stats.push_time.observe(0.07, 900)
    found = {key: value for key, value in samples(metrics).items() if "push_seconds" not in key[0]}
    numbers = [n for n, field in enumerate(fields(Stats), 1) if field.name != "push_time"]
    assert sorted(found.values()) == numbers


def test_how_long_pushes_took_is_told_of_the_channel():
    metrics, stats = Metrics(), Stats()
    register(metrics, stats)
    stats.push_time.observe(0.07, 900)
    found = samples(metrics)
    assert found["moments_push_seconds_count", ("socket",)] == 900
    assert found["moments_push_seconds_bucket", ("socket", "0.05")] == 0
    assert found["moments_push_seconds_bucket", ("socket", "0.1")] == 900


def test_counts_by_something_have_it_as_a_label():
    metrics, stats = Metrics(), Stats()
    register(metrics, stats)
    stats.sockets_closed[4408] += 2
    stats.sockets_refused["sockets_max"] += 3
    stats.requests[503] += 3
    found = samples(metrics)
    assert found["moments_sockets_closed_total", ("4408",)] == 2
    assert found["moments_sockets_refused_total", ("sockets_max",)] == 3
    assert found["moments_gateway_requests_total", ("503",)] == 3

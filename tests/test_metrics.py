import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import metric_names as names
from app.metric import Kind, Metric, Role, Unit, counter
from app.metric_names import METRICS
from app.metrics import Histogram, Metrics
from scripts.describe_metrics import page

ROOT = Path(__file__).parents[1]


@dataclass(slots=True)
class Stats:
    sent: int = 0
    open: int = 0


def families(made):
    return {
        family.name: family for family in text_string_to_metric_families(made.render().decode())
    }


def samples(made, name):
    return [(sample.name, sample.labels, sample.value) for sample in families(made)[name].samples]


def test_a_counter_of_a_stats_object_is_read_when_somebody_scrapes():
    stats, made = Stats(), Metrics()
    fields = {"sent": names.FRAMES_SENT, "open": names.SOCKETS_OPEN}
    made.register_stats(stats, fields)
    stats.sent = 41
    stats.sent += 1
    assert samples(made, "moments_frames_sent") == [("moments_frames_sent_total", {}, 42)]
    assert families(made)["moments_sockets_open"].type == "gauge"


def test_an_attribute_that_is_not_there_is_seen_at_once():
    with pytest.raises(AttributeError):
        Metrics().register_stats(Stats(), {"sents": names.FRAMES_SENT})


def test_labels_tell_the_values_of_one_metric_apart():
    made = Metrics()
    made.register(names.ATTEMPTS, lambda: {(("result", "ok"),): 7.0, (("result", "timeout"),): 2.0})
    assert samples(made, "moments_attempts") == [
        ("moments_attempts_total", {"result": "ok"}, 7),
        ("moments_attempts_total", {"result": "timeout"}, 2),
    ]


def test_a_metric_with_no_values_yet_breaks_no_scrape():
    made = Metrics()
    made.register(names.SOCKETS_CLOSED, dict)
    assert "moments_sockets_closed" in families(made)


def test_a_histogram_counts_each_value_under_its_upper_bound():
    histogram, made = Histogram((0.1, 1.0)), Metrics()
    for value in (0.05, 0.1, 0.5, 3.0):
        histogram.observe(value)
    made.register(names.ATTEMPT_TIME, lambda: histogram)
    name = "moments_attempt_seconds"
    assert samples(made, name) == [
        (f"{name}_bucket", {"le": "0.1"}, 2),
        (f"{name}_bucket", {"le": "1.0"}, 3),
        (f"{name}_bucket", {"le": "+Inf"}, 4),
        (f"{name}_count", {}, 4),
        (f"{name}_sum", {}, pytest.approx(3.65)),
    ]


def test_every_process_tells_its_memory_and_cpu():
    names = families(Metrics())
    assert "process_resident_memory_bytes" in names
    assert "process_cpu_seconds" in names


def test_two_metrics_cannot_share_a_name():
    made = Metrics()
    made.register(names.ACKS, lambda: 1)
    with pytest.raises(ValueError, match="registered already"):
        made.register(names.ACKS, lambda: 2)


def test_only_what_is_in_the_list_can_be_registered():
    made = Metrics()
    with pytest.raises(ValueError, match="metric_names"):
        made.register(counter((Role.API,), "moments_unlisted_total", "Something."), lambda: 1)
    with pytest.raises(ValueError, match="metric_names"):
        made.register(names.ACKS._replace(labels=("user",)), lambda: 1)


def test_samples_with_other_labels_than_the_list_says_are_an_error():
    made = Metrics()
    made.register(names.ATTEMPTS, lambda: {(("status", "200"),): 1.0})
    with pytest.raises(ValueError, match="moments_attempts_total"):
        made.render()


@pytest.mark.parametrize("metric", METRICS, ids=[metric.name for metric in METRICS])
def test_a_name_says_whose_and_what_it_is(metric: Metric):
    """https://prometheus.io/docs/practices/naming/"""
    assert re.fullmatch(r"moments_[a-z]+(_[a-z]+)*", metric.name)
    assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
    # Prometheus makes these of the name of a histogram.
    assert not metric.name.endswith(("_bucket", "_sum", "_count"))
    stem = metric.name.removesuffix("_total")
    assert [unit for unit in Unit if unit and stem.endswith(f"_{unit}")] == (
        [metric.unit] if metric.unit else []
    )
    assert not re.search(r"_(ms|milliseconds|minutes|hours|days|kb|mb|percent)(_|$)", metric.name)
    assert metric.kind is not Kind.HISTOGRAM or metric.unit is Unit.SECONDS
    for label in metric.labels:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label)
        assert label not in {"le", "quantile", "job", "instance"}
        # An id of a user or an endpoint would be a series each.
        assert label not in {"user", "author", "endpoint", "post", "delivery", "host", "url"}
    assert metric.help.endswith(".")
    assert metric.roles


def test_the_list_names_nothing_twice():
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 100


def test_every_listed_metric_can_be_registered():
    made = Metrics()
    for metric in METRICS:
        empty = Histogram if metric.kind is Kind.HISTOGRAM else lambda: 1
        made.register(metric, dict if metric.labels else empty)
    assert {metric.name.removesuffix("_total") for metric in METRICS} <= families(made).keys()


def test_the_page_of_metrics_is_up_to_date():
    assert (ROOT / "docs" / "metrics.md").read_text() == page(METRICS), (
        "run: python -m scripts.describe_metrics --write docs/metrics.md"
    )

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import metrics
from app.metrics import METRICS, Histogram, Kind, Metrics


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
    fields = {"sent": metrics.FRAMES_SENT, "open": metrics.SOCKETS_OPEN}
    made.register_stats(stats, fields)
    stats.sent = 41
    stats.sent += 1
    assert samples(made, "moments_frames_sent") == [("moments_frames_sent_total", {}, 42)]
    assert families(made)["moments_sockets_open"].type == "gauge"


def test_an_attribute_that_is_not_there_is_seen_at_once():
    with pytest.raises(AttributeError):
        Metrics().register_stats(Stats(), {"sents": metrics.FRAMES_SENT})


def test_labels_tell_the_values_of_one_metric_apart():
    made = Metrics()
    made.register(
        *metrics.ATTEMPTS, lambda: {(("result", "ok"),): 7.0, (("result", "timeout"),): 2.0}
    )
    assert samples(made, "moments_attempts") == [
        ("moments_attempts_total", {"result": "ok"}, 7),
        ("moments_attempts_total", {"result": "timeout"}, 2),
    ]


def test_a_metric_with_no_values_yet_breaks_no_scrape():
    made = Metrics()
    made.register(*metrics.SOCKETS_CLOSED, dict)
    assert "moments_sockets_closed" in families(made)


def test_a_histogram_counts_each_value_under_its_upper_bound():
    histogram, made = Histogram((0.1, 1.0)), Metrics()
    for value in (0.05, 0.1, 0.5, 3.0):
        histogram.observe(value)
    made.register(*metrics.ATTEMPT_TIME, lambda: histogram)
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
    made.register(*metrics.ACKS, lambda: 1)
    with pytest.raises(ValueError, match="registered already"):
        made.register(*metrics.ACKS, lambda: 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("acks_total", Kind.COUNTER),
        ("moments_acks", Kind.COUNTER),
        ("moments_open_total", Kind.GAUGE),
    ],
)
def test_a_name_must_say_whose_and_what_it_is(name, kind):
    with pytest.raises(ValueError, match="moments_"):
        Metrics().register(name, kind, "Something.", lambda: 1)


def test_every_listed_metric_can_be_registered_and_is_explained():
    made = Metrics()
    for metric in METRICS:
        made.register(*metric, Histogram if metric.kind is Kind.HISTOGRAM else lambda: 1)
        assert metric.help.endswith(".")
    assert len(METRICS) > 30
    assert {metric.name.removesuffix("_total") for metric in METRICS} <= families(made).keys()

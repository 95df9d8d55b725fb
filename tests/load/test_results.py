"""What is made of two looks, and of a figure and its bar."""

from dataclasses import replace

import pytest

from scripts.load.processes import Usage
from scripts.load.results import Finding, busiest, cpu_us_per_delivery, kept_waiting
from scripts.load.watch import Look, read_metrics


def look(
    at_s: float, cpu: dict[str, float], *, frames: int = 0, accepted: int = 0, ours: float = 0.0
) -> Look:
    return Look(
        at_us=round(at_s * 1e6),
        usage={name: Usage(cpu_s, 1) for name, cpu_s in cpu.items()},
        ours={"poster": Usage(ours, 1), "sockets": Usage(0.0, 1)},
        queues={},
        posts=0,
        frames=frames,
        groups={"healthy": {"accepted": accepted, "retries": 0}},
        sockets={},
        metrics={},
    )


def test_cpu_is_divided_by_frames_and_accepted_webhooks():
    before = look(0, {"api": 1.0, "store": 2.0}, frames=10, accepted=10)
    after = look(1, {"api": 1.5, "store": 2.1}, frames=60, accepted=60)
    assert cpu_us_per_delivery(before, after) == pytest.approx({"api": 5_000, "store": 1_000})


def test_a_process_that_is_new_has_no_cpu_to_compare():
    before, after = look(0, {"api": 1.0}), look(1, {"api": 2.0, "worker-1": 9.0}, frames=4)
    assert set(cpu_us_per_delivery(before, after)) == {"api"}


def test_without_deliveries_there_is_no_cpu_of_one():
    assert cpu_us_per_delivery(look(0, {"api": 1.0}), look(1, {"api": 2.0})) == {}


def test_how_long_a_process_was_kept_waiting_is_a_share_of_the_time():
    before, after = look(0, {"api": 1.0}), look(2, {"api": 1.0, "worker-1": 1.0})
    assert kept_waiting(before, after) == {"api": 0.0}
    usage = {"api": Usage(1.0, 1, kept_waiting_s=0.5)}
    assert kept_waiting(before, replace(after, usage=usage)) == {"api": 0.25}


def test_the_busiest_load_process_comes_first():
    shares = busiest(look(0, {}), look(2, {}, ours=1.9))
    assert shares == [("poster", pytest.approx(0.95)), ("sockets", 0.0)]


@pytest.mark.parametrize(
    ("finding", "ratio", "is_met"),
    [
        (Finding("a", 3.0, "ms"), None, None),
        (Finding("a", 3.0, "ms", bar=3.0), None, True),
        (Finding("a", 3.1, "ms", bar=3.0), None, False),
        (Finding("a", 3.0, "ms", baseline=2.0), 1.5, None),
        (Finding("a", 3.0, "ms", baseline=2.0, bar=1.5), 1.5, True),
        (Finding("a", 3.2, "ms", baseline=2.0, bar=1.5), 1.6, False),
        (Finding("a", 3.2, "ms", baseline=0.0, bar=1.5), None, None),
    ],
)
def test_a_bar_is_held_against_the_ratio_if_there_is_a_baseline(finding, ratio, is_met):
    assert finding.ratio == (None if ratio is None else pytest.approx(ratio))
    assert finding.is_met is is_met
    assert finding.as_json()["met"] is is_met


def test_metrics_are_read_in_sum_and_by_label():
    text = (
        b"# HELP moments_attempts_total Webhook requests.\n"
        b'moments_attempts_total{result="ok"} 7.0\n'
        b'moments_attempts_total{result="timeout"} 2.0\n'
        b"moments_connections_made_total 5.0\n"
        b"moments_unknown_total 9.0\n"
        b"process_cpu_seconds_total 1.5\n"
    )
    assert read_metrics(text) == {
        "attempts": 9.0,
        "attempts.ok": 7.0,
        "attempts.timeout": 2.0,
        "connections_made": 5.0,
    }

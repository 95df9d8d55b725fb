"""How long nothing is sent while the egress proxy cannot be used."""

import pytest

from workers.outage import PAUSE_MAX_MS, PAUSE_MS, Outage


def test_pauses_double_up_to_a_bound_and_end_when_the_proxy_is_of_use():
    outage, at_ms, pauses = Outage(), 5_000, list[int]()
    for _ in range(8):
        outage.begin(at_ms, b"away")
        pauses.append(outage.until_ms - at_ms)
        at_ms = outage.until_ms
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
    assert pauses[-1] == PAUSE_MAX_MS
    outage.end()
    assert outage.until_ms == 0
    outage.begin(at_ms, b"away")
    assert outage.until_ms == at_ms + PAUSE_MS


def test_requests_from_before_a_pause_do_not_make_it_longer(caplog: pytest.LogCaptureFixture):
    outage = Outage()
    for at_ms in (100, 100, 1_099):
        outage.begin(at_ms, b"away")
    assert outage.until_ms == 1_100
    assert [record.message for record in caplog.records] == [
        "the egress proxy cannot be used: nothing is sent meanwhile"
    ]

import logging

import pytest

from app.errors import StoreUnavailable
from app.gateway.backoff import FIRST_S, MAX_S, Backoff
from app.gateway.stats import Stats


def test_delays_double_up_to_a_limit_and_start_again_after_something_worked():
    stats = Stats()
    backoff = Backoff("pages", stats)
    error = StoreUnavailable("away")
    for failures in range(30):
        limit_s = min(MAX_S, FIRST_S * 2**failures)
        assert limit_s / 2 <= backoff.failed(error) <= limit_s
    assert stats.store_failures == 30
    backoff.worked()
    assert backoff.failed(error) <= FIRST_S


def test_each_failure_is_logged_with_what_was_tried(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        Backoff("pages", Stats()).failed(StoreUnavailable("away"))
    (record,) = caplog.records
    assert (record.work, record.reason) == ("pages", "away")

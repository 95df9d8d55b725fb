"""Figures that stand in sentences are those of the settings, where nothing else is said."""

from pathlib import Path

import pytest

from app.settings import Settings
from tests.docs.blocks import ROOT

OF = Settings.model_construct()
WORDS = {3: "three", 5: "five", 10: "ten"}


def span(seconds: float) -> str:
    for size, word in ((3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {word}"
    return f"{seconds:g} s"


FIRST_DELAYS = ", ".join(span(delay) for delay in OF.retry_schedule_s[:-1])
DAY_S = 86_400

SENTENCES = [
    ("retries-and-replay", f"after {FIRST_DELAYS} and {span(OF.retry_schedule_s[-1])}"),
    ("retries-and-replay", f"by {OF.request_deadline_s:g} s without a whole answer"),
    ("retries-and-replay", f"After {WORDS[OF.breaker_failures]} failures in a row"),
    ("retries-and-replay", f"After {WORDS[int(OF.disable_after_s / DAY_S)]} days without"),
    ("retries-and-replay", f"with failures on {WORDS[OF.disable_days]} different days"),
    ("retries-and-replay", f"are kept for {OF.retention_s / DAY_S:g} days"),
    ("receiving-webhooks", f"2xx within {OF.request_deadline_s:g} s"),
    ("receiving-webhooks", "four requests are under way at once"),
    ("errors-and-limits", f"{OF.user_rate_per_s:g} requests a second | {OF.user_burst:,} |"),
    ("errors-and-limits", f"{OF.key_rate_per_s:,.0f} requests a second | {OF.key_burst:,} |"),
    ("errors-and-limits", f"{OF.author_rate_per_s:g} new posts a second | {OF.author_burst:,} |"),
    ("errors-and-limits", f"is slowed down | {OF.auth_failure_burst} |"),
    ("errors-and-limits", f"within {OF.idempotency_ttl_s / 3_600:g} hours"),
    ("sockets", f"the newest {OF.inbox_keep:,} to {OF.inbox_max:,}"),
    ("sockets", f"as the first message within {OF.hello_timeout_s:g} s"),
    ("sockets", f"within {OF.ack_timeout_s:g} s, {WORDS[OF.ack_attempts_max]} times at most"),
    ("sockets", f"takes nothing for {OF.slow_timeout_s:g} s"),
    ("concepts", f"run out after {OF.lease_s:g} s"),
    ("concepts", f"the last {OF.attempt_log_max} of an endpoint"),
    ("concepts", f"in *slices* of {OF.slice_max} at most"),
]


@pytest.mark.parametrize(("page", "sentence"), SENTENCES)
def test_a_sentence_has_the_figure_of_the_setting(page: str, sentence: str):
    assert sentence in Path(ROOT / "docs" / f"{page}.md").read_text()


def test_four_is_the_number_of_requests_to_one_endpoint():
    assert OF.endpoint_in_flight_max == 4

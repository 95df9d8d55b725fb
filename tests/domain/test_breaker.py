"""The breaker line by line, and what must hold for any order of outcomes."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.attempt import Failure, Outcome
from app.domain.breaker import (
    TRANSITIONS,
    DisabledReason,
    EndpointState,
    Health,
    Notice,
    Permit,
    Policy,
    changed_fields,
    enable,
    may_send,
    on_outcome,
    on_probe,
    spends_attempt,
)

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z
POLICY = Policy()

OK = Outcome(204, None, 1.0)
REFUSED = Outcome(0, Failure.CONNECT, 1.0)
BROKEN = Outcome(500, None, 1.0)
GONE = Outcome(410, None, 1.0)
BUSY = Outcome(429, None, 1.0)
NO_PROXY = Outcome(0, Failure.PROXY, 1.0)
NO_TUNNEL = Outcome(0, Failure.TUNNEL, 1.0)


def slowed(status: int, retry_after: str | None = None) -> Outcome:
    return Outcome(status, None, 1.0, retry_after=retry_after)


def after(health: Health, *outcomes: Outcome, at_ms: int = START_MS) -> Health:
    for outcome in outcomes:
        health, _ = on_outcome(health, outcome, at_ms, POLICY)
    return health


def opened(at_ms: int = START_MS) -> Health:
    return after(Health(), *[BROKEN] * 10, at_ms=at_ms)


def disabled(at_ms: int = START_MS) -> Health:
    health = after(Health(), BROKEN, at_ms=at_ms - 5 * DAY_MS)
    health = after(health, BROKEN, at_ms=at_ms - DAY_MS)
    return after(health, BROKEN, at_ms=at_ms)


# Active


def test_a_new_endpoint_may_be_sent_to():
    assert may_send(Health(), START_MS) is Permit.SEND


def test_successes_of_a_healthy_endpoint_are_noted_every_ten_seconds_only():
    health = after(Health(), OK)
    assert health.last_success_at_ms == START_MS
    assert on_outcome(health, OK, START_MS + 9_999, POLICY) == (health, ())
    assert on_outcome(health, OK, START_MS + 9_999, POLICY)[0] is health
    assert after(health, OK, at_ms=START_MS + 10_000).last_success_at_ms == START_MS + 10_000


def test_failures_are_counted_and_forgotten_at_the_next_success():
    health = after(Health(), BROKEN, REFUSED, Outcome(302, None, 1.0), Outcome(404, None, 1.0))
    assert health.state is EndpointState.ACTIVE
    assert health.consecutive_failures == 4
    assert health.first_failure_at_ms == START_MS
    assert health.failure_days == ("2023-11-14",)
    assert after(health, OK) == Health(last_success_at_ms=START_MS)


def test_days_of_failing_are_counted_once_each_in_utc():
    health = after(Health(), BROKEN, BROKEN)
    health = after(health, BROKEN, at_ms=START_MS + 2 * 3_600_000)
    assert health.failure_days == ("2023-11-14", "2023-11-15")


def test_no_more_days_of_failing_are_kept_than_the_rule_needs():
    health = Health()
    for day in range(5):
        health = after(health, BROKEN, at_ms=START_MS + day * DAY_MS)
    assert health.failure_days == ("2023-11-14", "2023-11-15", "2023-11-16")


# Open


def test_the_tenth_failure_in_a_row_opens_the_breaker_for_a_minute():
    health = after(Health(), *[BROKEN] * 9)
    assert may_send(health, START_MS) is Permit.SEND
    health, notices = on_outcome(health, REFUSED, START_MS, POLICY)
    assert notices == (Notice.OPENED,)
    assert health.state is EndpointState.OPEN
    assert health.open_until_ms == START_MS + 60_000
    assert may_send(health, START_MS + 59_999) is Permit.PARK
    assert may_send(health, START_MS + 60_000) is Permit.PROBE


def test_a_success_among_ten_failures_keeps_it_closed():
    health = after(Health(), *[BROKEN] * 9, OK, *[BROKEN] * 9)
    assert health.state is EndpointState.ACTIVE


def test_one_probe_goes_at_a_time_and_a_lost_one_blocks_nothing():
    at_ms = START_MS + 60_000
    health = on_probe(opened(), at_ms, POLICY)
    assert may_send(health, at_ms) is Permit.PARK
    assert may_send(health, at_ms + 59_999) is Permit.PARK
    assert may_send(health, at_ms + 60_000) is Permit.PROBE


def test_a_probe_is_alone_for_its_whole_deadline_when_the_breaker_opens_for_less():
    policy = replace(POLICY, breaker_open_s=1.0, request_deadline_s=15.0)
    health = on_probe(opened(), START_MS, policy)
    assert may_send(health, START_MS + 14_999) is Permit.PARK
    assert may_send(health, START_MS + 15_000) is Permit.PROBE


def test_a_failed_probe_leaves_it_open_until_the_next_is_due():
    at_ms = START_MS + 60_000
    health, notices = on_outcome(on_probe(opened(), at_ms, POLICY), BROKEN, at_ms + 5, POLICY)
    assert notices == ()
    assert health.state is EndpointState.OPEN
    assert health.open_until_ms == at_ms + 60_000


def test_a_probe_that_succeeds_closes_it():
    at_ms = START_MS + 60_000
    health, notices = on_outcome(on_probe(opened(), at_ms, POLICY), OK, at_ms, POLICY)
    assert notices == (Notice.CLOSED,)
    assert health == Health(last_success_at_ms=at_ms)


def test_failures_still_under_way_when_it_opened_do_not_keep_it_open_longer():
    health, notices = on_outcome(opened(), BROKEN, START_MS + 15_000, POLICY)
    assert notices == ()
    assert health.open_until_ms == START_MS + 60_000


# Disabled


def test_410_disables_at_once_and_no_probe_follows():
    health, notices = on_outcome(after(Health(), OK), GONE, START_MS, POLICY)
    assert notices == (Notice.DISABLED,)
    assert health.state is EndpointState.DISABLED
    assert health.disabled_reason == DisabledReason.GONE
    assert may_send(health, START_MS + 365 * DAY_MS) is Permit.PARK


@pytest.mark.parametrize("before", [opened(), disabled()], ids=["open", "disabled"])
def test_a_probe_answered_410_is_the_last(before):
    health = after(on_probe(before, START_MS, POLICY), GONE)
    assert health.disabled_reason == DisabledReason.GONE
    assert may_send(health, START_MS + 365 * DAY_MS) is Permit.PARK


def test_a_body_that_broke_off_behind_a_410_disables_nothing():
    broken_off = Outcome(410, Failure.RESET, 1.0)
    assert after(Health(), broken_off).state is EndpointState.ACTIVE


def test_a_success_that_was_under_way_does_not_undo_a_410():
    health, notices = on_outcome(after(Health(), GONE), OK, START_MS + 1, POLICY)
    assert notices == ()
    assert health.state is EndpointState.DISABLED
    assert health.last_success_at_ms == START_MS + 1


def test_five_days_of_failing_on_three_different_days_disable():
    health = after(Health(), BROKEN)
    health = after(health, BROKEN, at_ms=START_MS + 2 * DAY_MS)
    health, notices = on_outcome(health, BROKEN, START_MS + 5 * DAY_MS - 1, POLICY)
    assert notices == ()
    health, notices = on_outcome(health, BROKEN, START_MS + 5 * DAY_MS, POLICY)
    assert notices == (Notice.DISABLED,)
    assert health.state is EndpointState.DISABLED
    assert health.disabled_reason == DisabledReason.FAILING


def test_failures_on_two_days_do_not_disable_however_far_apart():
    health = after(Health(), BROKEN)
    health = after(health, BROKEN, at_ms=START_MS + 30 * DAY_MS)
    assert health.state is EndpointState.ACTIVE


def test_a_success_in_between_starts_the_five_days_again():
    health = after(Health(), BROKEN)
    health = after(health, BROKEN, OK, BROKEN, at_ms=START_MS + 2 * DAY_MS)
    health = after(health, BROKEN, at_ms=START_MS + 4 * DAY_MS)
    health = after(health, BROKEN, at_ms=START_MS + 6 * DAY_MS)
    assert health.state is EndpointState.ACTIVE


def test_an_old_success_alone_does_not_shorten_the_five_days_of_failing():
    health = after(Health(), OK, at_ms=START_MS - 30 * DAY_MS)
    for day in range(3):
        health = after(health, BROKEN, at_ms=START_MS + day * DAY_MS)
    assert health.state is EndpointState.ACTIVE


def test_an_open_endpoint_is_disabled_by_a_failing_probe():
    health = opened(START_MS)
    for day in (2, 5):
        health = on_probe(health, START_MS + day * DAY_MS, POLICY)
        health = after(health, BROKEN, at_ms=START_MS + day * DAY_MS)
    assert health.state is EndpointState.DISABLED


def test_a_failing_endpoint_that_is_disabled_is_probed_every_hour():
    health = disabled()
    assert may_send(health, START_MS + 3_599_999) is Permit.PARK
    assert may_send(health, START_MS + 3_600_000) is Permit.PROBE
    health = after(on_probe(health, START_MS + 3_600_000, POLICY), BROKEN)
    assert may_send(health, START_MS + 2 * 3_600_000 - 1) is Permit.PARK
    assert may_send(health, START_MS + 2 * 3_600_000) is Permit.PROBE


def test_a_probe_that_succeeds_enables_it():
    health, notices = on_outcome(on_probe(disabled(), START_MS, POLICY), OK, START_MS, POLICY)
    assert notices == (Notice.ENABLED,)
    assert health == Health(last_success_at_ms=START_MS)


def test_a_success_enables_an_endpoint_of_which_nothing_else_is_known():
    health = Health(EndpointState.DISABLED, "failing", last_success_at_ms=START_MS)
    assert on_outcome(health, OK, START_MS, POLICY)[1] == (Notice.ENABLED,)


@pytest.mark.parametrize("health", [opened(), disabled(), after(Health(), OK, GONE)])
def test_a_call_enables_whatever_it_was(health):
    assert may_send(enable(health), START_MS) is Permit.SEND
    assert enable(health) == Health(last_success_at_ms=health.last_success_at_ms)


# The egress proxy


@pytest.mark.parametrize("health", [Health(), after(Health(), *[BROKEN] * 9), opened(), disabled()])
def test_a_proxy_that_cannot_be_used_says_nothing_of_an_endpoint(health: Health):
    assert on_outcome(health, NO_PROXY, START_MS + 30 * DAY_MS, POLICY) == (health, ())
    assert not spends_attempt(NO_PROXY)


def test_tunnels_that_are_not_made_open_the_breaker():
    health, notices = on_outcome(after(Health(), *[NO_TUNNEL] * 9), NO_TUNNEL, START_MS, POLICY)
    assert (health.state, notices) == (EndpointState.OPEN, (Notice.OPENED,))
    assert spends_attempt(NO_TUNNEL)


def test_tunnels_that_are_not_made_never_disable_however_long():
    health = Health()
    for day in range(40):
        health = after(health, NO_TUNNEL, at_ms=START_MS + day * DAY_MS)
    assert health.state is EndpointState.OPEN
    assert health.failure_days == ()
    on_three_days = Health()
    for day in (0, 1, 2):
        on_three_days = after(on_three_days, BROKEN, at_ms=START_MS + day * DAY_MS)
    late = after(on_three_days, NO_TUNNEL, at_ms=START_MS + 10 * DAY_MS)
    assert late.state is EndpointState.ACTIVE
    assert after(late, BROKEN, at_ms=START_MS + 10 * DAY_MS).state is EndpointState.DISABLED


# Verification


@pytest.mark.parametrize("outcome", [OK, BROKEN, REFUSED, GONE, BUSY, NO_PROXY, NO_TUNNEL])
def test_no_outcome_changes_what_is_known_of_an_address_that_is_not_verified(outcome: Outcome):
    health = Health(EndpointState.UNVERIFIED)
    assert on_outcome(health, outcome, START_MS, POLICY) == (health, ())
    assert may_send(health, START_MS + 365 * DAY_MS) is Permit.PARK


# Pauses


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_answer_that_asks_to_slow_down_pauses_the_whole_endpoint(status):
    health, notices = on_outcome(Health(), slowed(status, "30"), START_MS, POLICY)
    assert notices == (Notice.PAUSED,)
    assert may_send(health, START_MS + 29_999) is Permit.WAIT
    assert may_send(health, START_MS + 30_000) is Permit.SEND


@pytest.mark.parametrize("status", [408, 500, 501])
def test_other_failures_pause_nothing_even_with_retry_after(status):
    health, notices = on_outcome(Health(), slowed(status, "30"), START_MS, POLICY)
    assert notices == ()
    assert may_send(health, START_MS) is Permit.SEND


def test_a_pause_lasts_a_second_at_least_and_a_day_at_most():
    assert after(Health(), slowed(429, "0")).paused_until_ms == START_MS + 1_000
    assert after(Health(), slowed(429, "soon")).paused_until_ms == START_MS + 1_000
    assert after(Health(), slowed(429, "9" * 400)).paused_until_ms == START_MS + DAY_MS


def test_pauses_without_retry_after_double_up_to_a_minute():
    health, at_ms, pauses_s = Health(), START_MS, []
    for _ in range(9):
        health = after(health, BUSY, at_ms=at_ms)
        pauses_s.append((health.paused_until_ms - at_ms) / 1000)
        at_ms = health.paused_until_ms
    assert pauses_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_answers_to_requests_under_way_when_the_pause_began_do_not_double_it():
    health = after(Health(), BUSY, BUSY, BUSY, BUSY)
    assert health.paused_until_ms == START_MS + 1_000
    health = after(health, slowed(503, "5"))
    assert health.paused_until_ms == START_MS + 5_000
    health, notices = on_outcome(health, slowed(503, "2"), START_MS, POLICY)
    assert health.paused_until_ms == START_MS + 5_000
    assert notices == ()


def test_a_success_after_the_pause_ends_its_growth_and_one_during_it_does_not():
    health = after(Health(), BUSY)
    health = after(health, BUSY, at_ms=START_MS + 1_000)
    during = after(health, OK, at_ms=START_MS + 1_001)
    assert may_send(during, START_MS + 2_999) is Permit.WAIT
    during = after(during, BUSY, at_ms=START_MS + 3_000)
    assert during.paused_until_ms == START_MS + 7_000
    later = after(health, OK, BUSY, at_ms=START_MS + 3_000)
    assert later.paused_until_ms == START_MS + 4_000


def test_the_first_success_after_a_pause_counts_even_when_one_came_during_it():
    health = after(Health(), BUSY)
    health = after(health, BUSY, OK, at_ms=START_MS + 1_000)
    health = after(health, OK, BUSY, at_ms=START_MS + 3_000)
    assert health.paused_until_ms == START_MS + 4_000


def test_429_spends_no_attempt_and_never_opens_the_breaker():
    assert not spends_attempt(BUSY)
    health = after(Health(), *[BUSY] * 50)
    assert health.state is EndpointState.ACTIVE
    assert health.consecutive_failures == 0


@pytest.mark.parametrize(
    "outcome", [OK, BROKEN, REFUSED, GONE, slowed(503), Outcome(429, Failure.TIMEOUT, 1.0)]
)
def test_every_other_outcome_spends_an_attempt(outcome):
    assert spends_attempt(outcome)


def test_502_503_and_504_count_towards_the_breaker_and_pause_it_too():
    health = after(Health(), *[slowed(502), slowed(503), slowed(504)] * 3, slowed(503, "90"))
    assert health.state is EndpointState.OPEN
    assert may_send(health, START_MS + 89_999) is Permit.PARK
    assert may_send(health, START_MS + 90_000) is Permit.PROBE


def test_a_probe_told_to_wait_longer_puts_the_next_one_off():
    health = after(on_probe(opened(), START_MS + 60_000, POLICY), slowed(429, "600"))
    assert health.open_until_ms == START_MS + 600_000


def test_an_endpoint_that_answers_only_429_for_five_days_is_disabled():
    health = Health()
    for day in range(6):
        health = after(health, BUSY, at_ms=START_MS + day * DAY_MS)
    assert health.state is EndpointState.DISABLED


# What is written


def test_only_fields_that_changed_are_written_and_what_is_unset_is_empty():
    assert changed_fields(Health(), Health()) == {}
    assert changed_fields(Health(), after(Health(), BUSY)) == {
        "first_failure_at": START_MS,
        "failure_days": "2023-11-14",
    }
    assert changed_fields(after(Health(), *[BROKEN] * 9), opened()) == {
        "state": "open",
        "consecutive_failures": 10,
        "open_until": START_MS + 60_000,
    }
    two_days = after(opened(), BROKEN, at_ms=START_MS + DAY_MS)
    assert changed_fields(two_days, after(two_days, OK)) == {
        "state": "active",
        "consecutive_failures": 0,
        "first_failure_at": "",
        "failure_days": "",
        "last_success_at": START_MS,
        "open_until": "",
    }
    assert changed_fields(Health(), after(Health(), GONE))["disabled_reason"] == "gone"
    assert changed_fields(Health(), two_days)["failure_days"] == "2023-11-14 2023-11-15"


@pytest.mark.parametrize(
    "health", [opened(), disabled(), after(Health(), OK, GONE), after(Health(), BUSY)]
)
def test_an_endpoint_read_back_from_what_was_written_is_judged_the_same(health):
    written = changed_fields(replace(Health(), consecutive_failures=-1), health)
    read = Health(
        state=EndpointState(written.get("state", "active")),
        disabled_reason=written.get("disabled_reason") or None,
        consecutive_failures=int(written.get("consecutive_failures", 0)),
        first_failure_at_ms=written.get("first_failure_at") or None,
        failure_days=tuple(written.get("failure_days", "").split()),
        last_success_at_ms=written.get("last_success_at") or None,
        open_until_ms=written.get("open_until") or None,
    )
    assert replace(health, paused_until_ms=0, pause_s=0.0) == read


# Any order of outcomes

outcomes = st.one_of(
    st.just(OK),
    st.sampled_from([BROKEN, REFUSED, Outcome(404, None, 1.0)]),
    st.builds(slowed, st.sampled_from([429, 502, 503, 504]), st.sampled_from([None, "0", "90"])),
    st.sampled_from([GONE, Outcome(410, Failure.RESET, 1.0)]),
)


def test_the_table_says_what_follows_every_signal_in_every_state():
    assert set(TRANSITIONS) == set(EndpointState)
    assert len({frozenset(row) for row in TRANSITIONS.values()}) == 1


class Endpoint(RuleBasedStateMachine):
    """An endpoint whose sender does as told, with answers and waits in any order."""

    def __init__(self):
        super().__init__()
        self.health = Health()
        self.now_ms = START_MS
        self.in_flight = 0
        self.probed_at_ms = None
        self.notices = []

    @rule(wait_ms=st.sampled_from([1, 500, 1_000, 15_000, 60_000, 3_600_000, DAY_MS]))
    def time_passes(self, wait_ms):
        self.now_ms += wait_ms

    @rule()
    def a_request_is_sent_if_it_may(self):
        permit = may_send(self.health, self.now_ms)
        if permit is Permit.PROBE:
            self.probe()
        elif permit is Permit.SEND:
            self.in_flight += 1

    def probe(self):
        if self.probed_at_ms is not None:
            assert self.now_ms - self.probed_at_ms >= 60_000
        self.probed_at_ms = self.now_ms
        self.health = on_probe(self.health, self.now_ms, POLICY)
        assert may_send(self.health, self.now_ms) is Permit.PARK
        self.in_flight += 1

    @precondition(lambda self: self.in_flight)
    @rule(outcome=outcomes)
    def an_answer_comes(self, outcome):
        self.in_flight -= 1
        before = self.health
        self.health, notices = on_outcome(before, outcome, self.now_ms, POLICY)
        changed = before.state is not self.health.state
        assert changed == any(notice is not Notice.PAUSED for notice in notices)
        assert len(notices) <= 2
        if outcome.ok and before.disabled_reason != DisabledReason.GONE:
            assert self.health.state is EndpointState.ACTIVE
        if outcome.ok or not spends_attempt(outcome):
            assert self.health.consecutive_failures <= before.consecutive_failures
        assert self.health.paused_until_ms >= before.paused_until_ms

    @rule()
    def a_call_enables_it(self):
        self.health = enable(self.health)
        self.probed_at_ms = None

    @invariant()
    def fields_belong_together(self):
        health = self.health
        assert (health.state is EndpointState.DISABLED) == (health.disabled_reason is not None)
        assert (health.open_until_ms is None) == (
            health.state is EndpointState.ACTIVE or health.disabled_reason == DisabledReason.GONE
        )
        assert (health.first_failure_at_ms is None) == (health.failure_days == ())
        assert len(health.failure_days) <= POLICY.disable_days
        assert 0 <= health.pause_s <= POLICY.pause_max_s
        if health.state is EndpointState.ACTIVE:
            assert health.consecutive_failures < POLICY.breaker_failures
        if health.state is EndpointState.OPEN:
            assert health.consecutive_failures >= POLICY.breaker_failures

    @invariant()
    def nothing_but_a_410_is_for_ever(self):
        far_ms = self.now_ms + 2 * DAY_MS
        gone = self.health.disabled_reason == DisabledReason.GONE
        allowed = {Permit.PARK} if gone else {Permit.SEND, Permit.PROBE}
        assert may_send(self.health, far_ms) in allowed


TestAnyOrderOfOutcomes = Endpoint.TestCase

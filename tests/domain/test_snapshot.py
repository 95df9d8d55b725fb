"""Snapshots keep their form, and what is read off their histograms is what Prometheus would say."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.snapshot import Snapshot, added, quantile

SNAPSHOT = Snapshot(
    id="worker-1",
    role="worker",
    version="0.1.0",
    at_ms=1_800_000_000_500,
    started_at_ms=1_800_000_000_000,
    memory_bytes=60_000_000,
    delivered={"webhook": 12, "socket": 0},
    push_counts={"webhook": [1, 2, 3]},
    sockets_open=0,
    attempts_open=4,
    leases_held=24,
    posts_accepted=0,
)
BOUNDS = (0.01, 0.1, 1.0)


def test_a_snapshot_comes_back_as_it_was():
    assert Snapshot.of_fields(json.loads(json.dumps(SNAPSHOT.as_fields()))) == SNAPSHOT


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": 2},
        {"id": 7},
        {"sockets_open": "7"},
        {"sockets_open": True},
        {"delivered": {"pigeon": 1}},
        {"delivered": {"webhook": "1"}},
        {"delivered": [1]},
        {"push_counts": {"webhook": 1}},
        {"push_counts": {"webhook": [1.5]}},
        {"more": 1},
    ],
)
def test_what_is_of_another_form_is_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="not a snapshot"):
        Snapshot.of_fields({**SNAPSHOT.as_fields(), **wrong})


@pytest.mark.parametrize("wrong", [None, [], "text", {}, 7])
def test_what_is_no_snapshot_at_all_is_refused(wrong: object):
    with pytest.raises(ValueError, match="not a snapshot"):
        Snapshot.of_fields(wrong)


def test_one_field_less_is_refused():
    fields = SNAPSHOT.as_fields()
    for name in fields:
        with pytest.raises(ValueError, match="not a snapshot"):
            Snapshot.of_fields({key: fields[key] for key in fields if key != name})
    assert replace(SNAPSHOT, delivered={}).delivered == {}


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([10, 0, 0, 0], 0.5, 0.005),
        ([0, 10, 0, 0], 0.5, 0.055),
        ([5, 5, 0, 0], 0.5, 0.01),
        ([90, 9, 1, 0], 0.99, 0.1),
        ([0, 0, 0, 3], 0.5, 1.0),
        ([99, 0, 0, 1], 0.999, 1.0),
        ([0, 0, 0, 0], 0.5, None),
    ],
)
def test_a_quantile_lies_evenly_within_its_bucket(
    counts: list[int], share: float, value: float | None
):
    found = quantile(BOUNDS, counts, share)
    assert found == (None if value is None else pytest.approx(value))


@given(st.lists(st.integers(0, 1_000), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_a_quantile_is_in_a_bucket_that_holds_something(counts: list[int], share: float):
    found = quantile(BOUNDS, counts, share)
    if found is None:
        assert sum(counts) == 0
        return
    edges = (0.0, *BOUNDS, BOUNDS[-1])
    assert any(
        count and low <= found <= high
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    )


def test_counts_are_added_and_those_of_other_bounds_are_left_out():
    assert added([[1, 2], [3, 4], [1, 1, 1], []], 2) == [4, 6]
    assert added([], 2) == [0, 0]

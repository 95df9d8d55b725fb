"""What makes figures doubtful is said beside them."""

from typing import Any

import pytest

from scripts.load.table import warnings


def figures(**changes: Any) -> dict[str, Any]:
    phase = {
        "name": "steady",
        "measured": True,
        "load_processes": {"poster": 0.2},
        "kept_waiting": {"api": 0.01},
        "refused": {},
    }
    return {
        "incidents": [],
        "phases": [{**phase, **changes.pop("phase", {})}],
        "load_average": {"before": [0.1, 0, 0], "after": [2.0, 0, 0]},
        "machine": {"cores": 2},
        "workload": {"scaled_down": False, "big_authors": [[5_000, 0.0009], [10_000, 0.0001]]},
        **changes,
    }


def test_nothing_is_said_when_all_is_well():
    assert warnings(figures()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"incidents": ["api ended"]}, "incident: api ended"),
        ({"phase": {"load_processes": {"receivers": 0.97}}}, "receivers used 97% of a core"),
        ({"phase": {"kept_waiting": {"store": 0.4}}}, "for 40% of the time while store waited"),
        ({"phase": {"refused": {"503": 12}}}, "12 by 503"),
        ({"load_average": {"before": [3.2, 0, 0]}}, "load average 3.2 on 2 cores"),
        (
            {"workload": {"scaled_down": True, "big_authors": [[50, 0.0009], [100, 0.0001]]}},
            "big authors have 50, 100 friends",
        ),
    ],
)
def test_what_is_doubtful_is_said(changes: dict[str, Any], said: str):
    (warning,) = warnings(figures(**changes))
    assert said in warning

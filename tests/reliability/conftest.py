"""A service on one server, and a clock that tests set."""

import pytest

from tests.clock import SettableClock, settable


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    return settable(monkeypatch)

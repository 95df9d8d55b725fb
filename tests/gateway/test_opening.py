from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis.strategies import text

from app.errors import Rejected
from app.gateway.opening import Opening, parse_opening


def test_all_parameters_can_be_left_out():
    assert parse_opening("") == Opening(token=None, after=None, epoch=None, explicit=False)


def test_each_parameter_is_read():
    query = "token=a.b-c_d&after=12&epoch=0123456789ab&ack=explicit"
    assert parse_opening(query) == Opening("a.b-c_d", 12, "0123456789ab", True)
    assert parse_opening("ack=auto").explicit is False
    assert parse_opening("after=0").after == 0
    assert parse_opening("epoch=").epoch == ""


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("after=", "`after`"),
        ("after=-1", "`after`"),
        ("after=1.5", "`after`"),
        ("after=1e3", "`after`"),
        ("after=%D9%A1", "`after`"),
        ("after=1234567890123456", "`after`"),
        ("ack=maybe", "`ack`"),
        ("ack=", "`ack`"),
        ("user=bob", "unknown parameter 'user'"),
        ("after=1&after=2", "given twice"),
        ("after", "cannot be read"),
        ("token=%FF", "cannot be read"),
        ("&", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_rejected(query: str, reason: str):
    with pytest.raises(Rejected, match=reason):
        parse_opening(query)


@given(text())
def test_nothing_in_a_query_breaks_it(query: str):
    with suppress(Rejected):
        assert isinstance(parse_opening(query), Opening)

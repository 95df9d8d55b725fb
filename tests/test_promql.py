import pytest

from tests.promql import complaints, parse


def test_series_matchers_and_groups_are_read_off_an_expression():
    asked = parse(
        "histogram_quantile(0.99, sum by (le, channel) (rate(moments_push_seconds_bucket"
        '{channel=~"so.+", job!="x{y}"}[$__rate_interval]))) / 2 and up > 1e3'
    )
    assert asked.series == (
        ("moments_push_seconds_bucket", frozenset({"channel", "job"})),
        ("up", frozenset()),
    )
    assert asked.groups == {"le", "channel"}


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("rate(moments_no_such_total[5m])", "moments_no_such_total is no metric"),
        ("moments_push_seconds", "moments_push_seconds is no metric"),
        ('moments_acks_total{user="ann"}', "moments_acks_total has no label user"),
        ('moments_push_seconds_count{le="1"}', "moments_push_seconds_count has no label le"),
        ("sum by (endpoint) (moments_acks_total)", "nothing there has the label endpoint"),
        ("1 + 1", "asks for no series"),
    ],
)
def test_what_an_expression_has_wrong_is_found(expr: str, complaint: str):
    assert complaint in complaints(expr)

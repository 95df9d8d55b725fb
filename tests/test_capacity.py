"""What a service of a given size needs: the sums, not the figures."""

from pathlib import Path

import pytest

from scripts.capacity import Assumptions, Coefficients, main, need, table

PLAIN = Assumptions(
    posts_per_user_day=1.0,
    friends=100.0,
    small_posts_per_post=0.0,
    peak=2.0,
    on_socket=0.5,
    webhook=0.5,
    online=0.1,
    retention_days=1.0,
    body_bytes=0.0,
    busy=0.5,
    master_memory_bytes=20e9,
    sockets_per_gateway=10_000.0,
)
COSTS = Coefficients(
    api_post_us=1_000.0,
    fan_out_worker_us=1.0,
    fan_out_store_us=2.0,
    webhook_worker_us=20.0,
    webhook_store_us=10.0,
    frame_gateway_us=10.0,
    frame_store_us=2.0,
    recipient_bytes=50.0,
    outcome_bytes=100.0,
)


def test_a_day_of_864_000_users_is_ten_posts_and_a_thousand_deliveries_a_second():
    found = need(864_000, PLAIN, COSTS)
    assert (found.posts, found.deliveries) == (10.0, 1_000.0)
    assert (found.posts_peak, found.deliveries_peak) == (20.0, 2_000.0)
    assert (found.apis, found.workers) == (1, 1)  # 20 ms and 22 ms of a second, at most 500
    assert found.gateways == 9  # 86,400 sockets; 10 ms of a second
    assert found.store_memory_gb == pytest.approx(8.64)  # 86.4 M times 100 B
    assert (found.masters, found.stores) == (1, 2)


def test_whatever_runs_out_first_decides():
    many = need(86_400_000, PLAIN, COSTS)
    assert many.workers == 5  # 200,000 deliveries, 11 µs each: 2.2 s of a second, in halves
    assert many.masters == 87  # 864 GB in pieces of 10
    few_bytes = Assumptions(**{**as_dict(PLAIN), "master_memory_bytes": 1e15})
    assert need(86_400_000, few_bytes, COSTS).masters == 4  # 200,000 of 8 µs, in halves


def as_dict(of: Assumptions) -> dict[str, float]:
    return {name: getattr(of, name) for name in of.__slots__}


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match="busy"):
        need(1_000, Assumptions(busy=0.0), COSTS)


def test_the_table_has_a_column_for_each_size():
    lines = table([need(users, PLAIN, COSTS) for users in (1_000, 2_000)]).splitlines()
    assert {line.count("|") for line in lines} == {4}


def test_what_does_not_exist_cannot_be_set(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--set", "freinds=3"])
    assert "there are posts_per_user_day" in capsys.readouterr().err


def test_the_page_has_the_table_and_the_coefficients_of_the_script():
    page = (Path(__file__).parent.parent / "docs" / "capacity.md").read_text()
    of, costs = Assumptions(), Coefficients()
    assert table([need(users, of, costs) for users in (1e6, 1e7, 1e8)]) in page
    for figure in (costs.api_post_us, costs.webhook_worker_us, costs.recipient_bytes):
        assert f"| {figure:,g} " in page

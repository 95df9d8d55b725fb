"""The whole benchmark of the fan-out, tiny: what it tells, not how long anything takes."""

import pytest

from scripts.bench.fan_out import Sizes, measure
from scripts.bench.plays import Load

pytestmark = pytest.mark.timeout(150)  # a busy machine starts two services

TINY = Sizes(friends=10, authors=2, load=Load(20, 0.2), warm_up=Load(2))


async def test_every_row_has_its_figure_beside_that_of_its_peers(
    capsys: pytest.CaptureFixture[str],
):
    rows = {row.name: row for row in await measure(1, ["lists", "jobs"], TINY)}
    assert list(rows) == ["fan-out", "fan-out-webhooks", "inbox-memory"]
    assert [row.bar for row in rows.values()] == [7, 7, 60]
    assert [row.unit for row in rows.values()] == ["µs", "µs", "B"]
    assert set(rows["fan-out"].peers) == {"redis-py, lists alone"}
    assert set(rows["fan-out-webhooks"].peers) == {"redis-py, lists, ledger and jobs"}
    for row in rows.values():
        assert row.value > 0
        assert all(isinstance(figure, float) for figure in row.peers.values())
    told = capsys.readouterr().out
    assert "fan-out, moments: " in told
    assert "api" in told  # left out of the figure, and told

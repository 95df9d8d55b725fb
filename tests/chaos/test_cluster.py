"""A short run on a cluster: the master of a third of all shards dies while posts go in."""

from pathlib import Path

import pytest

from scripts.chaos.plan import Act, Role
from scripts.chaos.run import Options, run

SHORT = Options(
    seconds=6.0,
    seed=44,
    people=10,
    calls_per_s=12.0,
    gap_s=(0.3, 1.0),
    ack="replica",
    cluster=True,
    lag_s=0.5,
)


@pytest.mark.timeout(90)
async def test_nothing_accepted_is_lost_when_a_master_dies_whose_replica_lags(
    tmp_path: Path,
) -> None:
    result = await run(SHORT, tmp_path, lambda _: None)
    assert result.findings.complaints == []
    assert result.is_good
    assert result.history.counts()[Role.STORE, Act.KILL] == 1
    assert result.history.has_failed_over
    assert result.accepted > 20
    for channel in result.findings.channels.values():
        assert channel.received > 50
        assert channel.lost == 0

"""The whole benchmark of the pipeline, tiny: what it tells, not how long anything takes."""

from pathlib import Path

import pytest

from app.errors import CommandFailed
from scripts.bench.pipeline import Sizes, measure
from scripts.bench.plays import Load
from scripts.bench.service_pipeline import until_all

pytestmark = pytest.mark.timeout(150)  # a busy machine starts two services

TINY = Sizes(
    people=8,
    friends=4,
    authors=2,
    hosts=2,
    even=Load(4, 0.2),
    socket_even=Load(4, 0.2),
    burst=Load(3),
    peer_even=Load(1),
    peer_burst=Load(1),
)


async def test_every_row_has_its_figure_and_a_missing_peer_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("scripts.bench.peer_process.VENV", tmp_path / "nowhere")
    rows = {row.name: row for row in await measure(1, ["taskiq", "celery"], TINY)}
    assert list(rows) == [
        "pipeline-webhook",
        "pipeline-webhook-burst",
        "pipeline-socket",
        "pipeline-socket-burst",
        "pipeline-outcome-memory",
    ]
    assert all(row.value > 0 for row in rows.values())
    assert [row.unit for row in rows.values()] == [*["µs"] * 4, "B"]
    assert [row.bar for row in rows.values()] == [50, 50, 18, 18, None]
    for name in ("pipeline-webhook", "pipeline-webhook-burst"):
        peers = rows[name].peers
        assert set(peers) == {"taskiq-redis + aiohttp", "celery + requests"}
        assert set(peers.values()) == {"make bench-peers"}
    assert not rows["pipeline-socket"].peers
    told = capsys.readouterr().out
    for line in (line for line in told.splitlines() if "moments:" in line):
        assert all(f"{name} " in line for name in ("store", "api", "gateway-1", "worker"))


async def test_deliveries_beyond_those_due_are_a_failure():
    async def counted() -> int:
        return 5

    await until_all(counted, 5)
    with pytest.raises(CommandFailed, match="1 deliveries more"):
        await until_all(counted, 4)

"""A short run with everything in it: real processes, killed, stopped and cut off."""

import asyncio
import json
from pathlib import Path

import pytest

from app.errors import CommandFailed
from scripts.chaos import __main__ as command
from scripts.chaos.plan import Act, Role
from scripts.chaos.report import as_json, lines
from scripts.chaos.run import Options, run
from tests.wait import wait_until

SHORT = Options(seconds=10.0, seed=40, people=14, calls_per_s=15.0, away_s=3.0, gap_s=(0.2, 1.0))


@pytest.mark.timeout(90)
async def test_nothing_is_lost_and_nothing_comes_twice_without_a_crash(tmp_path: Path) -> None:
    told: list[str] = []
    result = await run(SHORT, tmp_path, told.append)
    assert result.findings.complaints == []
    assert result.is_good
    assert result.late == []

    # It was no walk in the park, and much came.
    done = result.history.counts()
    assert done[Role.STORE, Act.AWAY] == 1
    assert done[Role.SENDER, Act.ADD] == done[Role.FANOUT, Act.REMOVE] == 1
    for act in (Act.KILL, Act.STOP, Act.TERM):
        assert sum(count for (_, done_act), count in done.items() if done_act is act) >= 2
    assert result.refusals["503"] > 0
    assert result.accepted > 20  # 100 on an idle machine
    for channel in result.findings.channels.values():
        assert channel.received > 50
        assert channel.expected == channel.received + channel.withdrawn

    text = "\n".join(lines(result))
    assert "✓ nothing is lost" in text
    assert json.loads(json.dumps(as_json(result)))["good"] is True


async def test_whoever_stops_it_gets_everything_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Ctrl+C: the processes are gone, their data and what they said stay."""
    stop = asyncio.Event()
    monkeypatch.setattr(command, "stop_on_signals", lambda: stop)
    said = tmp_path / "logs" / "sender-1.log"

    async def stop_when_begun() -> None:
        await wait_until(said.exists, 20)
        assert len(processes_of(tmp_path)) > 5
        stop.set()

    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(stop_when_begun())
        with pytest.raises(CommandFailed, match="stopped before the end"):
            await command.stoppable(SHORT, tmp_path)
        await stopping
    assert processes_of(tmp_path) == []
    assert said.exists()


def processes_of(directory: Path) -> list[str]:
    """Processes that still have something to do with a run in this directory."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is another user's
        if str(directory).encode() in told:
            found.append((path / "cmdline").read_text())
    return found

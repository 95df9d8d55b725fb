"""The fuzzing of sockets, for a moment: it finds nothing, and would find something."""

from typing import Any

import pytest
from websockets.protocol import Protocol

from app.gateway import incoming
from app.gateway.connection import Connection
from scripts.fuzz_sockets.run import Fuzz, Level, Report, judge

FRAMES, PARTS = 6_000, 3


async def test_random_and_mutated_frames_break_nothing_and_leave_nothing_behind():
    report = await Fuzz(1).run(FRAMES, PARTS)
    assert judge(report) == []
    assert report.frames >= FRAMES
    # It came everywhere: what closes, what is refused, what is pushed.
    assert {1002, 1005, 1006, 1007, 1009, 4003, 4004, 4005, 4500, 4501} <= set(report.closed)
    assert report.refused["tokens_awaited_max"] > 0
    assert report.events > 1_000


async def test_the_same_seed_sends_the_same():
    first, second = [await Fuzz(7).run(1_000, 1) for _ in range(2)]
    for told in ("frames", "clients", "events", "closed", "refused", "statuses"):
        assert getattr(first, told) == getattr(second, told), told


async def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch):
    """The library's own way: the end of a message whose beginning was thrown away."""
    monkeypatch.setattr(incoming._Protocol, "recv_frame", Protocol.recv_frame)
    report = await Fuzz(1).run(FRAMES, PARTS)
    assert any("AssertionError" in failure for failure in judge(report))


async def test_what_is_kept_is_found(monkeypatch: pytest.MonkeyPatch):
    kept: list[Any] = []
    shut = Connection._shut

    def keep(connection: Connection, code: int) -> bool:
        kept.append((connection, [code]))
        return shut(connection, code)

    monkeypatch.setattr(Connection, "_shut", keep)
    assert any("more objects" in failure for failure in judge(await Fuzz(1).run(FRAMES, PARTS)))


@pytest.mark.parametrize(
    ("last", "failures"),
    [
        (Level(100, 1_000, 5_000), []),
        (Level(100, 1_000, 500_000), ["495000 more bytes than after the second part"]),
        (Level(100, 9_000, 5_000), ["8000 more objects than after the second part"]),
    ],
)
def test_growth_is_judged_from_the_second_part_on(last: Level, failures: list[str]):
    report = Report(1, levels=[Level(1, 0, 0), Level(2, 1_000, 5_000), last])
    assert judge(report) == failures

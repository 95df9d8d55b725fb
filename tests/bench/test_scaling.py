"""The series of sizes, tiny: that each is played and drawn, not how long anything takes."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from scripts.bench.plot import plot
from scripts.bench.scaling import SERIES, Sizes, measure

pytestmark = pytest.mark.timeout(150)  # a busy machine starts five services

TINY = Sizes(
    friends=(2, 4),
    sockets=(4, 6),
    deliveries=8,
    of_sockets=2,
    people=4,
    audience=2,
    rounds=1,
    seconds=0.2,
    idle_s=0.1,
)


async def test_each_series_compares_its_last_size_with_its_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = await measure(of=TINY, drawn=tmp_path / "scaling.svg")
    assert [row.name for row in rows] == [f"scaling-{name}" for name in SERIES]
    assert [row.what for row in rows] == [
        "cost of a delivery with 4 friends, against 2",
        "cost of a delivery with 6 sockets, against 4",
        "cost of a delivery with 2 workers, against 1",
        "cost of a delivery with 2 gateways, against 1",
    ]
    for row in rows:
        assert row.value > 0
        assert row.baseline
        assert row.bar == 1.2
    told = capsys.readouterr().out
    assert sum(" µs, and api " in line for line in told.splitlines()) == 8
    assert len(points(tmp_path / "scaling.svg")) == 4
    beside = {row.name: row.peers for row in rows if row.peers}
    assert list(beside) == ["scaling-sockets", "scaling-workers"]
    assert all(float(us) > 0 for peers in beside.values() for us in peers.values())


def points(svg: Path) -> list[str]:
    found = ET.fromstring(svg.read_text()).iter("{http://www.w3.org/2000/svg}polyline")
    return [line.attrib["points"] for line in found]


def test_a_line_rises_to_the_right_when_its_values_do(tmp_path: Path):
    (tmp_path / "x.svg").write_text(plot("a < b", {"one": [(10, 1.0), (100, 2.0), (1_000, 4.0)]}))
    [line] = points(tmp_path / "x.svg")
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    across, down = zip(*places, strict=True)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down, reverse=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)

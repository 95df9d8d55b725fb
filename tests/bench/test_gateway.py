"""The benchmark of the gateway, small: everything is delivered, and who is missing is named."""

import re
from pathlib import Path

import pytest

from scripts.bench.contest import contest, take_turns
from scripts.bench.gateway import Options, measure
from scripts.bench.lone_gateway import MOMENTS
from scripts.bench.peers import programs, socket_io
from scripts.bench.peers.bare_write import BARE_WRITE
from scripts.bench.peers.broadcast import BROADCAST
from scripts.bench.peers.nats import NATS
from scripts.bench.peers.nchan import NCHAN
from scripts.bench.peers.socket_io import SOCKET_IO
from scripts.bench.push_server import Kind

SOCKETS, POSTS, ROUNDS = 20, 3, 2
SMALL = Options(
    sockets=SOCKETS,
    rounds=ROUNDS,
    burst_sockets=10,
    burst_posts=5,
    peers=("write", "broadcast", "nats"),
)


async def test_every_message_of_every_server_reaches_every_client():
    async with contest([MOMENTS, BARE_WRITE, BROADCAST], SOCKETS) as contestants:
        found = await take_turns(contestants, POSTS, ROUNDS)
        for one in contestants:
            assert one.crowd.deliveries == SOCKETS * POSTS * (ROUNDS + 1)  # one to warm up
            assert one.wire_bytes == pytest.approx(250, abs=2)
    assert list(found) == ["moments", "bare write", "websockets broadcast()"]
    assert all(len(series.figures) == ROUNDS for series in found.values())


async def test_there_is_a_row_for_one_post_for_a_burst_and_for_memory(nothing_installed: None):
    rows = await measure(SMALL)
    assert [row.name for row in rows] == ["gateway-one-post", "gateway-burst", "idle-socket"]
    assert [row.unit for row in rows] == ["µs", "µs", "bytes"]
    assert all(row.value > 0 for row in rows[:2])  # memory grows by pages
    measured = {"bare write", "websockets broadcast()"}
    one_post, burst, idle = ({**row.peers} for row in rows)
    for peers in (one_post, burst, idle):
        assert peers.pop("NATS") == "apt-get install nats-server"
        assert all(isinstance(figure, float) for figure in peers.values())
    assert set(one_post) == set(burst) == measured
    assert set(idle) == measured - {"bare write"}


@pytest.mark.parametrize(
    ("peer", "hint"),
    [
        (NCHAN, "apt-get install nginx-light libnginx-mod-nchan"),
        (NATS, "apt-get install nats-server"),
        (SOCKET_IO, "make bench-peers"),
    ],
    ids=lambda given: given.name if isinstance(given, Kind) else "",
)
def test_what_is_not_installed_says_how_to_install_it(
    nothing_installed: None, peer: Kind, hint: str
):
    assert re.match(hint, peer.why_missing() or "nothing is said")


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "ALSO", ())
    monkeypatch.setattr(socket_io, "PACKAGE", tmp_path)

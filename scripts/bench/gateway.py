"""What the gateway costs beside other push servers: CPU for each delivery, memory for each socket.

    python -m scripts.bench.gateway [--sockets 2000] [--rounds 20] [--peers nchan,…] [--json FILE]

Each server runs in processes of its own and has a crowd of raw sockets in another; CPU is of all
threads of the server's processes, read from outside before and after each round. Rounds go from
one server to the next, so that all of them meet the same moods of the machine.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.bench import command
from scripts.bench.contest import Contestant, contest, take_turns
from scripts.bench.lone_gateway import MOMENTS
from scripts.bench.peers.bare_write import BARE_WRITE
from scripts.bench.peers.broadcast import BROADCAST
from scripts.bench.peers.nats import NATS
from scripts.bench.peers.nchan import NCHAN
from scripts.bench.peers.socket_io import SOCKET_IO
from scripts.bench.push_server import Kind
from scripts.bench.row import Row, Series

SOURCE: Final = "python -m scripts.bench.gateway"
PEERS: Final[Mapping[str, Kind]] = {
    "write": BARE_WRITE,
    "nchan": NCHAN,
    "nats": NATS,
    "broadcast": BROADCAST,
    "socketio": SOCKET_IO,
}
ONE_POST_BAR_US, BURST_BAR_US, IDLE_BAR_BYTES = 7.8, 1.0, 6_144.0


@dataclass(frozen=True, slots=True)
class Options:
    """`burst_share`: rounds of single posts for each one of bursts, which take much longer."""

    sockets: int = 2_000
    rounds: int = 20
    peers: Sequence[str] = tuple(PEERS)
    burst_sockets: int = 500
    burst_posts: int = 200
    burst_share: int = 3

    @property
    def burst_rounds(self) -> int:
        return max(self.rounds // self.burst_share, 2)

    @property
    def kinds(self) -> list[Kind]:
        return [PEERS[name] for name in self.peers]


async def measure(options: Options | None = None) -> list[Row]:
    """Raises CommandFailed when a server does not start, or when a delivery does not come."""
    asked = options or Options()
    absent = {kind.name: why for kind in asked.kinds if (why := kind.why_missing()) is not None}
    kinds = [MOMENTS, *(kind for kind in asked.kinds if kind.name not in absent)]
    async with contest(kinds, asked.sockets) as contestants:
        idle = {one.name: one.idle_bytes for one in contestants if one.idle_bytes is not None}
        singles = await take_turns(contestants, 1, asked.rounds)
        _show(f"one post to {asked.sockets:,} sockets", contestants, singles)
    async with contest(kinds, asked.burst_sockets) as contestants:
        bursts = await take_turns(contestants, asked.burst_posts, asked.burst_rounds)
        _show(
            f"{asked.burst_posts} posts at once to {asked.burst_sockets:,} sockets",
            contestants,
            bursts,
        )
    return [
        _row(
            "gateway-one-post",
            f"gateway: one post to {asked.sockets:,} sockets, CPU of a delivery",
            ("µs", ONE_POST_BAR_US),
            _middles(singles) | absent,
        ),
        _row(
            "gateway-burst",
            f"gateway: {asked.burst_posts} posts at once to {asked.burst_sockets:,} sockets,"
            " CPU of a delivery",
            ("µs", BURST_BAR_US),
            _middles(bursts) | absent,
        ),
        _row(
            "idle-socket",
            "gateway: memory of an idle socket that has answered a ping",
            ("bytes", IDLE_BAR_BYTES),
            {**idle, **absent},
        ),
    ]


def _middles(found: Mapping[str, Series]) -> dict[str, float | str]:
    return {name: series.middle for name, series in found.items()}


def _row(name: str, what: str, bar: tuple[str, float], figures: Mapping[str, float | str]) -> Row:
    ours = figures[MOMENTS.name]
    assert isinstance(ours, float)
    peers = {peer: figure for peer, figure in figures.items() if peer != MOMENTS.name}
    return Row(name, what, ours, bar[0], SOURCE, bar=bar[1], peers=peers)


def _show(what: str, contestants: Sequence[Contestant], found: Mapping[str, Series]) -> None:
    """The rows have only the middles."""
    print(f"{what}, µs of CPU for a delivery:")
    for one in contestants:
        series = found[one.name]
        print(f"  {one.name:<24} {series}, {one.wire_bytes:.0f} bytes on the wire", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = Options()
    parser.add_argument("--sockets", type=int, default=usual.sockets)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--peers", type=_names, default=usual.peers, help=", ".join(PEERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="keeps the rows there")
    asked = parser.parse_args()
    command.run(measure(Options(asked.sockets, asked.rounds, asked.peers)), asked.json)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}, only {', '.join(PEERS)}")
    return names


if __name__ == "__main__":
    main()

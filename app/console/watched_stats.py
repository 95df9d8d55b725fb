"""The topic `stats`: what the service is busy with, once a second, and how fast it goes."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from app.api.operations import show_stats
from app.api.services import Services
from app.clock import now_ms
from app.domain.snapshot import CHANNELS, Snapshot, added, quantile
from app.metrics import PUSH_BOUNDS_S
from app.store.stats import read_stats
from app.wire import encode_json

EVERY_S: Final = 1.0
POINTS_MAX: Final = 300  # five minutes
RATE_MS: Final = 3_000  # that a rate is taken over
TIMES_MS: Final = 15_000  # that times to push are taken over
_SNAPSHOTS_MAX: Final = 32  # of one process


class Trend:
    """Rates and times to push, from what all processes tell one look after the other.

    A process counts from the second look on: its totals begin with its start. Rates are in
    deliveries per second, times in milliseconds.
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[Snapshot]] = {}

    def add(self, at_ms: int, processes: Sequence[Snapshot]) -> dict[str, Any]:
        """One point of the plots."""
        living = {one.id for one in processes}
        for gone in self._seen.keys() - living:
            del self._seen[gone]
        for one in processes:
            seen = self._seen.setdefault(one.id, deque(maxlen=_SNAPSHOTS_MAX))
            if not seen or seen[-1].at_ms != one.at_ms:
                seen.append(one)
        point: dict[str, Any] = {"at": at_ms}
        for channel in CHANNELS:
            counts = self._push_counts(channel)
            times = (quantile(PUSH_BOUNDS_S, counts, share) for share in (0.5, 0.99))
            point[channel] = {
                "per_s": round(self._rate(channel), 1),
                "times_ms": [None if time is None else round(time * 1000, 1) for time in times],
            }
        return point

    def _rate(self, channel: str) -> float:
        total = 0.0
        for seen in self._seen.values():
            first, last = _before(seen, RATE_MS), seen[-1]
            span_s = (last.at_ms - first.at_ms) / 1000
            if span_s > 0:
                total += (last.delivered.get(channel, 0) - first.delivered.get(channel, 0)) / span_s
        return max(total, 0.0)

    def _push_counts(self, channel: str) -> list[int]:
        size = len(PUSH_BOUNDS_S) + 1
        gained: list[list[int]] = []
        for seen in self._seen.values():
            first = _before(seen, TIMES_MS).push_counts.get(channel, ())
            last = seen[-1].push_counts.get(channel, ())
            if len(first) == len(last) == size:
                gained.append([b - a for a, b in zip(first, last, strict=True)])
        return added(gained, size)


def _before(seen: deque[Snapshot], span_ms: int) -> Snapshot:
    """The oldest one that is no more than so much older than the newest."""
    last = seen[-1]
    return next(one for one in seen if last.at_ms - one.at_ms <= span_ms)


class StatsSource:
    """What `/v1/stats` answers, with points for the plots."""

    pause_s = EVERY_S

    def __init__(self, services: Services) -> None:
        self._services = services
        self._trend = Trend()
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS_MAX)
        self._stats = ""

    async def look(self, *, thorough: bool) -> str:
        found = await read_stats(self._services.store, self._services.shards)
        self._points.append(self._trend.add(now_ms(), found["processes"]))
        self._stats = show_stats(found).model_dump_json(by_alias=True)
        return self._message([self._points[-1]], whole=False)

    def whole(self) -> str:
        return self._message(list(self._points), whole=True)

    def _message(self, points: list[dict[str, Any]], *, whole: bool) -> str:
        head = encode_json({"type": "stats", "whole": whole, "points": points}).decode()
        return f'{head[:-1]},"stats":{self._stats}}}'

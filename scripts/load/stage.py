"""What a scenario plays on: it loads, changes how receivers behave, waits, and reads latencies."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection, Sequence
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from app.errors import CommandFailed
from scripts.load.arrivals import Arrival, draw, everyday
from scripts.load.caller import Caller
from scripts.load.display import Display
from scripts.load.groups import OWED, Group
from scripts.load.histogram import Latencies, Summary
from scripts.load.load_process import LoadProcess
from scripts.load.options import Options
from scripts.load.orders import now_us
from scripts.load.results import Finding, Phase
from scripts.load.samples import untold
from scripts.load.service import OwnService, Service
from scripts.load.setting_up import Advance, tokens
from scripts.load.watch import Look, Watch
from scripts.load.workload import Workload

LEAD_S = 0.5  # from an order to its first post
ANSWERS_MAX_S = 60.0  # after the last post was due
SETTLE_MAX_S = 60.0
LOOK_EVERY_S = 0.5
AT_ONCE = 100  # sockets being opened
SOCKETS_OF_ADDRESS = 18_000


class Stage:
    """One run. `phases` are all so far, `latencies` all that has come."""

    latencies: Latencies
    watch: Watch
    poster: LoadProcess
    receivers: LoadProcess
    sockets: LoadProcess

    def __init__(
        self,
        options: Options,
        workload: Workload,
        service: Service,
        caller: Caller,
        display: Display,
    ) -> None:
        self.options = options
        self.caller = caller
        self.workload = workload
        self.service = service
        self.display = display
        self.random = random.Random(f"arrivals {options.seed}")
        self.latencies = Latencies()
        self.phases: list[Phase] = []
        self._audiences: dict[int, Counter[Group]] = {}

    @property
    def own(self) -> OwnService:
        """Raises CommandFailed when the service is not ours to change."""
        if not isinstance(self.service, OwnService):
            raise CommandFailed(f"{self.options.scenario} needs a service of its own: no --url")
        return self.service

    def take(self, samples: list[Any]) -> None:
        """What load processes tell."""
        for key, values in untold(samples):
            self.latencies.add(key, values)

    # Load

    async def load(
        self,
        name: str,
        seconds: float,
        deliveries_per_s: float | None = None,
        *,
        extra: Sequence[Arrival] = (),
        chance: random.Random | None = None,
        is_measured: bool = True,
    ) -> Phase:
        """The everyday mix at a rate (the one asked for, unless given), and posts at given times
        beside it. Returns when all posts are answered, or given up.

        Phases that are to be compared are given the same state of `chance`: then the same posts
        come in each, and what differs is not which ones were drawn.
        """
        rate = self.options.rate if deliveries_per_s is None else deliveries_per_s
        mix = [everyday(self.workload, rate)]
        drawn = draw(chance or self.random, self.workload, mix, seconds)
        arrivals = sorted([*drawn, *extra])
        number = len(self.phases)
        begin_us = now_us() + round(LEAD_S * 1e6)
        posting = asyncio.create_task(
            self.poster.ask(
                "post",
                phase=number,
                begin_us=begin_us,
                authors=[author.name for author in self.workload.authors],
                arrivals=arrivals,
            ),
            name=f"post {name}",
        )
        try:
            await _sleep_until(begin_us)
            before = await self.watch.look()
            await self._show(name, number, arrivals, begin_us + round(seconds * 1e6), posting)
            after = await self.watch.look()
            async with asyncio.timeout(ANSWERS_MAX_S):
                answer = await posting
        except TimeoutError:
            words = f"posts were not answered {ANSWERS_MAX_S:.0f} s after the last was due"
            raise CommandFailed(words) from None
        finally:
            posting.cancel()
        phase = Phase(
            number=number,
            name=name,
            is_measured=is_measured,
            began_us=begin_us,
            seconds=seconds,
            deliveries_per_s=rate,
            posts=len(arrivals),
            accepted=len(answer["accepted"]),
            refused=answer["refused"],
            expected=self._owed(arrivals[index] for index in answer["accepted"]),
            before=before,
            after=after,
        )
        self.phases.append(phase)
        return phase

    async def _show(
        self,
        name: str,
        number: int,
        arrivals: Sequence[Arrival],
        end_us: int,
        posting: "asyncio.Task[Any]",
    ) -> None:
        """Until the phase is over, or posting has failed."""
        owed = self._owed(arrivals).total()
        with self.display.phase(name, owed) as show:
            while now_us() < end_us:
                left_s = (end_us - now_us()) / 1e6
                await asyncio.sleep(max(min(LOOK_EVERY_S, left_s), 0))
                if posting.done():
                    posting.result()
                summary = self.latencies.of([number], list(Group))
                show(summary.count, f"p99 {summary.p99_ms:,.1f} ms")

    def _owed(self, arrivals: Any) -> Counter[str]:
        owed: Counter[str] = Counter()
        for arrival in arrivals:
            audience = self._audiences.get(arrival.author)
            if audience is None:
                audience = self.workload.audience(arrival.author)
                self._audiences[arrival.author] = audience
            owed.update(audience)
        return owed

    async def warm_up(self) -> None:
        if self.options.warm_up > 0:
            await self.load("warm-up", self.options.warm_up, is_measured=False)

    # Sockets

    async def open_sockets(self) -> float:
        """Opens one for everybody who has one, some at a time; how long that took, in seconds."""
        members = [self.workload.people[number] for number in self.workload.members(Group.SOCKET)]
        with self.display.step("make tokens", len(members)) as advance:
            made = await tokens(self.caller, members, self.service.token_secret, advance)
        took_s = 0.0
        gateways = self.service.gateways
        with self.display.step("open sockets", len(members)) as advance:
            for number, url in enumerate(gateways):
                share = made[number :: len(gateways)]
                order = {"url": url, "sources": sources(url, len(share)), "tokens": share}
                opening = asyncio.create_task(self.sockets.ask("open", **order, at_once=AT_ONCE))
                took_s += (await self._follow(opening, advance))["took_s"]
        return took_s

    async def _follow(
        self, opening: "asyncio.Task[dict[str, float]]", advance: Advance
    ) -> dict[str, float]:
        """The answer; shows meanwhile how many are open."""
        seen = (await self.sockets.ask("count"))["open"]
        while True:
            await asyncio.wait({opening}, timeout=LOOK_EVERY_S)
            now_open = (await self.sockets.ask("count"))["open"]
            advance(now_open - seen)
            seen = now_open
            if opening.done():
                return opening.result()

    # Receivers

    async def manner(
        self, group: Group, delays_s: Sequence[float | None] = (0.0,), fail: float = 0.0
    ) -> None:
        """How a group's receivers answer from now on; a delay of None: never."""
        await self.receivers.ask("manner", group=group, delays_s=delays_s, fail=fail)

    # Results

    def missing(self, phase: Phase, groups: Collection[Group] = OWED) -> int:
        """Deliveries that were owed and have not come so far."""
        return sum(
            max(0, phase.expected[group] - self.latencies.count(phase.number, group))
            for group in groups
        )

    async def settle(self, groups: Collection[Group] = OWED, limit_s: float = SETTLE_MAX_S) -> bool:
        """Waits until these groups have all that they are owed; False when they have not."""
        deadline = time.monotonic() + limit_s
        with self.display.step("wait for what is under way"):
            while any(self.missing(phase, groups) for phase in self.phases):
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(LOOK_EVERY_S)
                await self.watch.look()
        return True

    async def look(self) -> Look:
        return await self.watch.look()

    def latency(
        self,
        phases: Sequence[Phase],
        groups: Collection[Group],
        kinds: Collection[str] | None = None,
    ) -> Summary:
        return self.latencies.of([phase.number for phase in phases], groups, kinds)

    def compare(
        self,
        what: str,
        groups: Collection[Group],
        pairs: Sequence[tuple[Phase, Phase]],
        *,
        kinds: Collection[str] | None = None,
        bar: float | None = None,
    ) -> Finding:
        """The 99th percentiles of the second phases against those of the first ones: the medians
        of all pairs, so that a moment in which the machine was busy elsewhere decides nothing."""
        before, after = (
            median(self.latency([phase], groups, kinds).p99_ms for phase in phases)
            for phases in zip(*pairs, strict=True)
        )
        return Finding(what, after, "ms", baseline=before, bar=bar)


def sources(url: str, sockets: int) -> list[str]:
    """Addresses of ours to connect to a gateway on this machine from, each good for a part of the
    sockets; none when the gateway is elsewhere: then the system chooses."""
    if not (urlsplit(url).hostname or "").startswith("127."):
        return []
    return [f"127.0.0.{number + 2}" for number in range(1 + sockets // SOCKETS_OF_ADDRESS)]


async def _sleep_until(at_us: int) -> None:
    await asyncio.sleep(max(0, at_us - now_us()) / 1e6)

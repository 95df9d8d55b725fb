"""One worker process: its store, its leases, its jobs, and how it starts and stops."""

import asyncio
import contextlib
import logging
import math
import os
import secrets
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.breaker import Policy
from app.domain.bucket import Bucket, Rate
from app.domain.challenge import ANSWER_BYTES_MAX
from app.domain.proxy import parse_proxy
from app.guard import Guard
from app.resolver import Resolver
from app.sealing import Sealer
from app.settings import Settings
from app.store import keys
from app.store.bodies import Bodies
from app.store.client import Store
from app.store.endpoints import Endpoints
from app.store.epoch import EpochWatch
from app.store.leases import Leases, Slot
from app.store.posts import Posts
from workers.attempts import AttemptTraces
from workers.challenges import ChallengeLimits, Challenges, ChallengeStats
from workers.delivery import Item
from workers.dispatch import Dispatch, DispatchRules, DispatchStats
from workers.fanout import FanoutShard
from workers.http.client import Client
from workers.http.limits import Limits as HttpLimits
from workers.http.proxied import ProxyDialer
from workers.http.stats import Stats as HttpStats
from workers.http.tls import client_context
from workers.intake import Intake
from workers.janitor import JanitorShard, JanitorStats
from workers.lanes import Lanes
from workers.lanes import Limits as LaneLimits
from workers.outcomes import OutcomeLimits, OutcomeStats
from workers.pings import PingLimits, Pings, PingStats
from workers.room import Room
from workers.schedule import Schedule
from workers.sender import Beginning, SenderShard, SenderStats
from workers.slices import FanoutLimits, FanoutStats
from workers.targets import Targets
from workers.tenure import Job, JobMaker, TenureKeeper, TenureStats, Term
from workers.turns import Turns
from workers.upkeep import Upkeep
from workers.watcher import StreamWatcher, WatcherStats

if TYPE_CHECKING:
    from app.tracing import Tracer

log = logging.getLogger(__name__)

ROLES = frozenset({keys.FANOUT, keys.SENDER, keys.JANITOR})


@dataclass(slots=True)
class WorkerStats:
    """All counters of one worker, in one place for whoever exports them."""

    fanout: FanoutStats = field(default_factory=FanoutStats)
    sender: SenderStats = field(default_factory=SenderStats)
    dispatch: DispatchStats = field(default_factory=DispatchStats)
    outcomes: OutcomeStats = field(default_factory=OutcomeStats)
    pings: PingStats = field(default_factory=PingStats)
    challenges: ChallengeStats = field(default_factory=ChallengeStats)
    janitor: JanitorStats = field(default_factory=JanitorStats)
    tenure: TenureStats = field(default_factory=TenureStats)
    watcher: WatcherStats = field(default_factory=WatcherStats)
    # Of a worker that sends, once it runs.
    http: HttpStats | None = None
    lanes: Lanes[Item] | None = None
    targets: Targets | None = None
    room: Room | None = None


class Worker:
    """Fans out, sends and tidies up for the shards that it holds leases on."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        shards: int,
        sealer: Sealer,
        *,
        roles: frozenset[str] = ROLES,
        stats: WorkerStats | None = None,
        watch: EpochWatch | None = None,
        tracer: "Tracer | None" = None,
    ) -> None:
        unknown = roles - ROLES
        if unknown or not roles:
            raise ValueError(f"roles are some of {', '.join(sorted(ROLES))}")
        self._settings = settings
        self._store = store
        self._shards = shards
        self._sealer = sealer
        self._roles = roles
        self._watch = watch
        self._tracer = tracer
        self.stats = stats or WorkerStats()
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._leases = Leases(store, self.id, life_s=settings.lease_s)
        self._watcher = StreamWatcher(store, self.stats.watcher)
        self._keeper: TenureKeeper | None = None

    def unready(self) -> str | None:
        """Why this worker may not be moving what it should; None when it is."""
        return "starting" if self._keeper is None else self._keeper.unready()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then drains and gives its leases back."""
        async with self._sending() as sending, asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(self._watcher.run(), name="watcher")]
            if sending is not None:
                watching.append(tasks.create_task(sending.run(), name="turns"))
            if self._watch is not None:
                watching.append(tasks.create_task(self._watch.run(_begin_anew), name="epoch"))
            keeper = self._keeper = TenureKeeper(
                self._leases, self._makers(sending), self._shards, self.stats.tenure
            )
            log.info("worker started", extra={"worker": self.id, "roles": sorted(self._roles)})
            await keeper.run(stop, self._settings.drain_timeout_s)
            for watch in watching:
                watch.cancel()
        log.info("worker stopped", extra={"worker": self.id})

    @contextlib.asynccontextmanager
    async def _sending(self) -> AsyncGenerator["_Sending | None"]:
        if keys.SENDER not in self._roles:
            yield None
            return
        sending = _Sending(
            self._settings, self._store, self._shards, self._sealer, self.stats, self._tracer
        )
        try:
            yield sending
        finally:
            await sending.close()

    def _makers(self, sending: "_Sending | None") -> dict[str, JobMaker]:
        makers: dict[str, JobMaker] = {}
        if keys.FANOUT in self._roles:
            makers[keys.FANOUT] = self._fanout
        if sending is not None:
            makers[keys.SENDER] = lambda slot, term: sending.shard(
                slot, term, self._watcher, self._leases.token
            )
        if keys.JANITOR in self._roles:
            makers[keys.JANITOR] = self._janitor
        return makers

    def _fanout(self, slot: Slot, _: Term) -> Job:
        settings = self._settings
        return FanoutShard(
            self._store,
            self._watcher,
            shard=slot.shard,
            shards=self._shards,
            token=self._leases.token,
            limits=FanoutLimits(
                retention_s=settings.retention_s,
                inbox_max=settings.inbox_max,
                inbox_keep=settings.inbox_keep,
                sockets_backlog_max=settings.sockets_backlog_max,
                slice_max=settings.slice_max,
                turns_max=settings.fanout_turns_max,
                events_max=settings.fanout_events_max,
                ack=settings.ack,
            ),
            stats=self.stats.fanout,
            tracer=self._tracer,
        )

    def _janitor(self, slot: Slot, _: Term) -> Job:
        return JanitorShard(
            self._store,
            shard=slot.shard,
            retention_s=self._settings.retention_s,
            stats=self.stats.janitor,
        )


async def _begin_anew(_: str) -> None:
    """With all the rest its leases are gone, and with new ones it reads everything anew."""


class _Sending:
    """What the senders of all shards of one process share."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        shards: int,
        sealer: Sealer,
        stats: WorkerStats,
        tracer: "Tracer | None",
    ) -> None:
        self._settings = settings
        self._store = store
        self._shards = shards
        self._stats = stats
        is_proxied = settings.egress_proxy is not None
        self._guard = Guard(
            allow=settings.allow_cidrs,
            allow_ports=settings.allow_ports,
            resolves=not (is_proxied and settings.egress_proxy_resolves),
        )
        # Apart from that of the guard, whose threads receivers' names can hold.
        self._resolver = Resolver(threads_max=2)
        self._tls = client_context(settings.ca_file)
        limits = HttpLimits(
            deadline_s=settings.request_deadline_s,
            idle_s=settings.idle_connection_s,
            origin_connections_max=settings.host_in_flight_max,
            connections_max=settings.in_flight_max,
            waiting_max=settings.in_flight_max,
            body_bytes_max=settings.response_bytes_max,
            excerpt_bytes_max=settings.excerpt_bytes_max,
        )
        self._client = self._make_client(limits)
        self._challenger = self._make_client(_challenge_limits(settings))
        self._challenge_bucket = Bucket(Rate.of(settings.challenges_per_s_max))
        stats.http = self._client.stats
        lanes = stats.lanes = Lanes[Item](
            LaneLimits(
                endpoint_in_flight_max=settings.endpoint_in_flight_max,
                endpoint_queue_max=settings.endpoint_queue_max,
                host_in_flight_max=settings.host_in_flight_max,
                in_flight_max=settings.in_flight_max,
                queued_max=settings.held_max,
            )
        )
        traces = None if tracer is None else AttemptTraces(tracer)
        self.dispatch = Dispatch(self._client, lanes, _rules(settings), stats.dispatch, traces)
        posts = Posts.of(store, shards, settings)
        self._bodies = Bodies(posts)
        endpoints = Endpoints(
            store,
            shards,
            sealer=sealer,
            endpoints_max=settings.endpoints_max,
            changes_max=settings.changes_max,
        )
        self._targets = stats.targets = Targets(endpoints, allow_ports=settings.allow_ports)
        self._room = stats.room = Room(settings.held_max)
        self._turns: Turns[Beginning] = Turns()

    def _make_client(self, limits: HttpLimits) -> Client:
        settings, tls = self._settings, self._tls
        proxy = None
        if settings.egress_proxy is not None:
            address = parse_proxy(settings.egress_proxy)
            proxy = ProxyDialer(address, self._resolver.resolve, tls, limits)
        return Client(self._guard, limits=limits, tls=tls, proxy=proxy)

    async def run(self) -> None:
        """Begins what the shards have read, until it is cancelled."""
        await self._turns.run(lambda beginning: beginning[0].owner.begin(*beginning))

    async def close(self) -> None:
        await self.dispatch.close(grace_s=1.0)
        await self._challenger.close(grace_s=0.0)
        self._guard.close()
        self._resolver.close()

    def _pings(self, slot: Slot) -> Pings:
        return Pings(
            self._store,
            shard=slot.shard,
            client=self._client,
            limits=PingLimits(self._settings.attempt_log_max, self._settings.retention_s),
            stats=self._stats.pings,
        )

    def _challenges(self, schedule: Schedule) -> Challenges:
        settings = self._settings
        return Challenges(
            self._store,
            shards=self._shards,
            client=self._challenger,
            bucket=self._challenge_bucket,
            limits=ChallengeLimits(
                schedule_s=settings.verify_schedule_s,
                per_host_max=settings.challenges_per_host_max,
                deadline_s=settings.request_deadline_s,
                excerpt_bytes_max=settings.excerpt_bytes_max,
                log_max=settings.attempt_log_max,
                retention_s=settings.retention_s,
                changes_max=settings.changes_max,
            ),
            schedule=schedule,
            stats=self._stats.challenges,
        )

    def shard(self, slot: Slot, term: Term, watcher: StreamWatcher, token: bytes) -> Job:
        settings = self._settings
        schedule = Schedule(self._store, slot.shard, token)
        upkeep = Upkeep(
            self._store,
            shard=slot.shard,
            targets=self._targets,
            dispatch=self.dispatch,
            pings=self._pings(slot),
            challenges=self._challenges(schedule),
            schedule=schedule,
            drain_gap_ms=settings.drain_gap_ms,
            changes_max=settings.changes_max,
        )
        return SenderShard(
            self._store,
            watcher,
            shard=slot.shard,
            token=token,
            term=term,
            dispatch=self.dispatch,
            intake=Intake(
                self._store,
                shard=slot.shard,
                bodies=self._bodies,
                targets=self._targets,
                dispatch=self.dispatch,
            ),
            targets=self._targets,
            upkeep=upkeep,
            room=self._room,
            turns=self._turns,
            redeliveries_max=settings.redeliveries_max,
            ack=settings.ack,
            schedule=schedule,
            outcome_limits=OutcomeLimits(
                retention_s=settings.retention_s,
                batch_max=settings.outcome_batch_max,
                wait_s=settings.outcome_wait_ms / 1000,
                log_max=settings.attempt_log_max,
                parked_max=settings.parked_max,
                dead_max=settings.dead_letters_max,
            ),
            stats=self._stats.sender,
            outcome_stats=self._stats.outcomes,
        )


def _challenge_limits(settings: Settings) -> HttpLimits:
    """So many connections that the rate is reached first; none is kept for long."""
    at_once = math.ceil(settings.challenges_per_s_max * (settings.request_deadline_s + 1)) + 1
    return HttpLimits(
        deadline_s=settings.request_deadline_s,
        idle_s=1.0,
        origin_connections_max=settings.host_in_flight_max,
        connections_max=at_once,
        waiting_max=at_once,
        body_bytes_max=ANSWER_BYTES_MAX,
        excerpt_bytes_max=ANSWER_BYTES_MAX,
    )


def _rules(settings: Settings) -> DispatchRules:
    policy = Policy(
        breaker_failures=settings.breaker_failures,
        breaker_open_s=settings.breaker_open_s,
        disable_after_s=settings.disable_after_s,
        disable_days=settings.disable_days,
        disabled_probe_s=settings.disabled_probe_s,
        request_deadline_s=settings.request_deadline_s,
        retry_after_max_s=settings.retry_after_max_s,
        pause_s=settings.pause_s,
        pause_max_s=settings.pause_max_s,
    )
    return DispatchRules(
        retry_schedule_s=settings.retry_schedule_s,
        retry_jitter=settings.retry_jitter,
        retry_after_max_s=settings.retry_after_max_s,
        defer_s=settings.defer_s,
        policy=policy,
    )

"""One run: the service is started, loaded and hurt, comes to rest, and is judged."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import CommandFailed
from app.settings import AckMode
from scripts.chaos.blows import Striker
from scripts.chaos.bundled import BundledServer
from scripts.chaos.caller import Caller
from scripts.chaos.cast import PEOPLE, Cast, Hook, make_cast
from scripts.chaos.cluster import ClusterUnderTest
from scripts.chaos.evidence import Evidence, Findings
from scripts.chaos.fleet import Fleet, StoreUnderTest
from scripts.chaos.history import History, watch_for_stalls
from scripts.chaos.hooks import Hooks
from scripts.chaos.ledger import for_each, read_inbox, settled_account
from scripts.chaos.listeners import Listener, Listeners
from scripts.chaos.load import Load
from scripts.chaos.oracle import judge
from scripts.chaos.plan import GAP_S, Act, Blow, Terms, make_plan

LEASE_S = 2.0
DRAIN_S = 5.0
QUIET_S = 2.0  # nothing came for this long: then the inboxes and the ledger are read
SETTLE_MAX_S = 60.0
TELL_EVERY_S = 5.0
TOKEN_TTL_S = 3_600
AWAY_S = 20.0
AWAY_SHARE = 0.2  # of a short run

# What takes minutes for real, in seconds; more than enough attempts for any outage.
SETTINGS = {
    "allow_cidrs": "127.0.0.0/8",
    "lease_s": f"{LEASE_S}",
    "retry_schedule_s": "0.3,0.6,1,2,2,2,2,2,2,2,2,2,2,2,2",
    "request_deadline_s": "5",
    "answer_timeout_s": "3",
    "ack_timeout_ms": "1500",
    "breaker_open_s": "1",
    "pause_max_s": "1",
    "ping_s": "3",
    "pong_timeout_s": "2",
    "goodbye_spread_s": "0.5",
    "inbox_max": "1000000",
    "inbox_keep": "900000",
    "slice_max": "7",  # so that a post takes several, and may be interrupted between them
}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    seed: int
    people: int = PEOPLE
    calls_per_s: float = 25.0
    away_s: float | None = None
    gap_s: tuple[float, float] = GAP_S
    ack: AckMode = "memory"
    cluster: bool = False
    lag_s: float = 0.0  # of a replica, before its master is killed


@dataclass(slots=True)
class Result:
    """What is told in the end."""

    options: Options
    findings: Findings
    history: History
    accepted: int
    edits: int
    deletions: int
    tried_again: int
    refusals: dict[str, int]
    receipts: int
    frames: int
    late: list[str]
    took_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def is_good(self) -> bool:
        return self.findings.faults == 0 and self.accepted > 0 and not self.late


async def run(options: Options, directory: Path, tell: Tell) -> Result:
    """Raises CommandFailed when the service does not start, or does not come to rest."""
    chance = random.Random(options.seed)
    cast = make_cast(chance, options.people)
    plan = make_plan(chance, _terms(options))
    store = _store(options, directory / "store", chance)
    settings = {**SETTINGS, "ack": options.ack}
    async with (
        Hooks(cast.hooks, chance) as hooks,
        Fleet(directory, store, settings, drain_s=DRAIN_S) as fleet,
        Caller(fleet.apis, fleet.admin_key, chance) as caller,
    ):
        return await _Run(options, cast, plan, hooks, fleet, caller, chance, tell).play()


def _terms(options: Options) -> Terms:
    if options.cluster:
        acts = (Act.KILL, Act.KILL, Act.STOP)
        return Terms(options.seconds, LEASE_S, 0.0, acts, options.gap_s)
    away_s = min(AWAY_S, options.seconds * AWAY_SHARE) if options.away_s is None else options.away_s
    return Terms(options.seconds, LEASE_S, away_s, gap_s=options.gap_s)


def _store(options: Options, directory: Path, chance: random.Random) -> StoreUnderTest:
    if options.cluster:
        return ClusterUnderTest(directory, chance, lag_s=options.lag_s)
    return BundledServer(directory)


class _Run:
    def __init__(
        self,
        options: Options,
        cast: Cast,
        plan: list[Blow],
        hooks: Hooks,
        fleet: Fleet,
        caller: Caller,
        chance: random.Random,
        tell: Tell,
    ) -> None:
        self._options = options
        self._cast = cast
        self._plan = plan
        self._hooks = hooks
        self._fleet = fleet
        self._caller = caller
        self._chance = chance
        self._began = time.monotonic()
        self._tell_line = tell
        self._history = History()
        self._load = Load(caller, cast, chance, calls_per_s=options.calls_per_s)
        self._endpoints: dict[str, Hook] = {}
        self._took_s: dict[str, float] = {}

    def _tell(self, words: str) -> None:
        self._tell_line(f"{time.monotonic() - self._began:6.1f} s  {words}")

    async def play(self) -> Result:
        await self._introduce()
        tokens = await for_each(self._cast.sockets, self._token)
        self._began = time.monotonic()
        made = [Listener(user, self._cast.sockets[user], tokens[user]) for user in tokens]
        listeners = Listeners(made, self._fleet.gateways, self._chance)
        striker = Striker(self._fleet, self._history, self._tell)
        async with asyncio.TaskGroup() as tasks:
            side = [
                tasks.create_task(listeners.run(), name="listeners"),
                tasks.create_task(watch_for_stalls(self._history, LEASE_S / 4), name="stalls"),
                tasks.create_task(self._tell_progress(listeners), name="progress"),
            ]
            await self._hurt(striker)
            evidence = await self._settle(listeners)
            for task in side:
                task.cancel()
        return self._result(judge(evidence), listeners, striker)

    # Before

    async def _introduce(self) -> None:
        cast, caller = self._cast, self._caller
        lines = [{"kind": "friend", "a": a, "b": b} for a, b in cast.friends]
        lines += [{"kind": "follow", "a": a, "b": b} for a, b in cast.follows]
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        headers = {"content-type": "application/x-ndjson"}
        path = "/v1/graph:import"
        answer = await caller.must("POST", path, content=content, headers=headers)
        if answer["errors"] or answer["created"] != len(lines):
            raise CommandFailed(f"the import of friendships failed: {answer}")
        for hook in cast.hooks:
            body = {"user": hook.user, "url": self._hooks.urls[hook]}
            body |= {"secret": self._hooks.secrets[hook], "types": list(hook.types)}
            endpoint = (await caller.must("POST", "/v1/endpoints", body))["id"]
            self._hooks.name(hook, endpoint)
            self._endpoints[endpoint] = hook

    async def _token(self, user: str) -> str:
        body = {"ttl_s": TOKEN_TTL_S}
        return (await self._caller.must("POST", f"/v1/users/{user}/tokens", body))["token"]

    # Meanwhile

    async def _hurt(self, striker: Striker) -> None:
        """Load and blows for the time of the run; then every call is brought to its end."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            loading = tasks.create_task(self._load.run(stop), name="load")
            striking = tasks.create_task(striker.run(self._plan), name="striker")
            await asyncio.sleep(self._options.seconds)
            stop.set()
            try:
                async with asyncio.timeout(SETTLE_MAX_S):
                    await striking
                    await loading
            except TimeoutError:
                raise CommandFailed(
                    f"calls or blows were not over {SETTLE_MAX_S:.0f} s after the end"
                ) from None
        self._took_s["load"] = time.monotonic() - self._began
        self._tell("no more is posted; all processes go on")

    async def _tell_progress(self, listeners: Listeners) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self._tell(
                f"accepted {len(self._load.posts):,} posts, {self._load.edits:,} edits, "
                f"{self._load.deletions:,} deletions; came {len(self._hooks.receipts):,} webhooks, "
                f"{listeners.frames:,} frames"
            )

    # Afterwards

    async def _settle(self, listeners: Listeners) -> Evidence:
        """Waits until nothing comes any more, then reads all that is said of it."""
        loop = asyncio.get_running_loop()
        began, until_s = loop.time(), loop.time() + SETTLE_MAX_S
        await self._fleet.await_ready()
        await self._await_quiet(listeners, until_s)
        self._took_s["settle"] = loop.time() - began
        self._tell("nothing comes any more; reading inboxes and ledger")
        listening = frozenset(self._cast.sockets)
        accounts = await for_each(
            [post.id for post in self._load.posts],
            lambda post: settled_account(self._caller, post, listening, until_s),
        )
        inboxes = await for_each(self._cast.people, lambda user: read_inbox(self._caller, user))
        self._took_s["read"] = loop.time() - began - self._took_s["settle"]
        return Evidence(
            posts=self._load.posts,
            accounts=accounts,
            inboxes=inboxes,
            endpoints=self._endpoints,
            receipts=self._hooks.receipts,
            listeners={one.user: one for one in listeners.listeners},
            history=self._history,
            complaints=self._load.complaints,
        )

    async def _await_quiet(self, listeners: Listeners, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        count, since_s = -1, loop.time()
        while loop.time() - since_s < QUIET_S and loop.time() < until_s:
            now = len(self._hooks.receipts) + listeners.frames
            if now != count:
                count, since_s = now, loop.time()
            await asyncio.sleep(0.1)

    def _result(self, findings: Findings, listeners: Listeners, striker: Striker) -> Result:
        posts = self._load.posts
        return Result(
            options=self._options,
            findings=findings,
            history=self._history,
            accepted=len(posts),
            edits=self._load.edits,
            deletions=self._load.deletions,
            tried_again=sum(post.tries > 1 for post in posts),
            refusals=dict(self._caller.refusals),
            receipts=len(self._hooks.receipts),
            frames=listeners.frames,
            late=striker.late,
            took_s=self._took_s,
        )

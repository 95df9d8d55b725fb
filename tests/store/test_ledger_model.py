"""Whatever the order of steps, each delivery is in exactly one place, and the tally is the ledger.

A model says after every step where each delivery is; the store is held against it, and `places`
checks on its own that no delivery is lost, doubled or counted wrongly.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.domain.delivery import State, may_follow
from app.domain.ids import parse_delivery_id
from app.domain.post import Event
from app.domain.shard import shard_of
from app.store import keys
from app.store.client import Store, connect
from app.store.embedded import EmbeddedServer
from app.wire import decode_deliveries, decode_event, stream_fields
from tests.store.places import AGAIN, FIRST, PARKED, SCHEDULE, check_keys, check_places
from tests.store.service import NOW_MS, Result, Sender, Service, cancel, fan_out, users_of
from tests.store_servers import StoreCluster

SHARDS = 2
USERS = [*users_of(0, 1, SHARDS), *users_of(1, 1, SHARDS)]
ENDPOINTS = (2, 1)  # of each user; few, so that steps often meet
PARKED_MAX = 2

T = TypeVar("T")
shards = st.integers(0, SHARDS - 1)
endpoints = st.integers(0, sum(ENDPOINTS) - 1)
numbers = st.integers(0, 1_000)
outcomes = st.sampled_from(
    ["delivered", "retry", "defer", "park", "dead", "suppressed", "cancelled"]
)


@dataclass(slots=True)
class Expected:
    """What is known of one delivery. `waits` is the set that it stands in, if any."""

    endpoint: str
    state: State | None = None
    attempts: int = 0
    base: int = 0
    due_ms: int = 0
    waits: str | None = None

    @property
    def place(self) -> str:
        if self.state is None:
            return FIRST
        if self.state.is_final:
            return self.state.word
        return self.waits or AGAIN


@dataclass(slots=True)
class Held:
    """A stream entry in the hands of a sender, and those of its deliveries not dealt with yet."""

    id: bytes
    again: bool
    deliveries: dict[str, tuple[int, int]]  # attempts made before, and before the schedule began


@dataclass(slots=True)
class Hands:
    """A sender and what it holds."""

    sender: Sender
    held: list[Held] = field(default_factory=list[Held])


class LedgerMachine(RuleBasedStateMachine):
    """Publishing, sending, crashing and calling, on a store of two shards."""

    url: str
    patch: pytest.MonkeyPatch

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # Ids decide between what is due at the same time: they have to come again with the steps.
        draws = count(1)
        self.patch.setattr(secrets, "randbits", lambda bits: next(draws))
        self.store: Store = connect(self.url)
        self.service = Service.on(self.store, SHARDS, endpoints_max=4)
        self.now_ms = NOW_MS
        self.deliveries: dict[str, Expected] = {}
        self.posts: list[tuple[Event, set[int]]] = []
        self.owners: list[Hands] = []
        self.former: list[Hands] = []
        self.endpoints: list[str] = []
        self.deleted: set[str] = set()
        self.parked: Counter[str] = Counter()
        self.tokens = 0
        self.is_sound = False

    def run(self, step: Awaitable[T]) -> T:
        async def stepping() -> T:
            return await step

        return self.runner.run(stepping())

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self._drain()
        finally:
            self.run(self.store.close())
            self.runner.close()

    # What is done

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.store.broadcast("FLUSHALL")
        for user, number in zip(USERS, ENDPOINTS, strict=True):
            self.endpoints += [(await self.service.endpoint(user)).id for _ in range(number)]
        self.owners = [await self._sender(shard) for shard in range(SHARDS)]
        await self._publish(set(USERS), 1)

    async def _sender(self, shard: int) -> Hands:
        self.tokens += 1
        token = b"t%d" % self.tokens
        sender = Sender(self.store, shard, token, parked_max=PARKED_MAX, redeliveries_max=4)
        return Hands(await sender.take())

    @precondition(lambda self: len(self.posts) < 2)
    @rule(users=st.sets(st.sampled_from(USERS), min_size=1), slices=st.integers(1, 2))
    def publish(self, users: set[str], slices: int) -> None:
        self.run(self._publish(users, slices))

    async def _publish(self, users: set[str], slices: int) -> None:
        event = await self.service.post()
        for number in range(slices):
            await fan_out(self.store, event, sorted(users), slice_=number, shards=SHARDS)
            for user in users:
                for endpoint in self._of(user):
                    self.deliveries[f"{event.post}-1-{number}-{endpoint}"] = Expected(endpoint)
        self.posts.append((event, set(range(slices))))

    def _of(self, user: str) -> list[str]:
        start = sum(ENDPOINTS[: USERS.index(user)])
        mine = self.endpoints[start : start + ENDPOINTS[USERS.index(user)]]
        return [endpoint for endpoint in mine if endpoint not in self.deleted]

    @precondition(lambda self: self.posts)
    @rule(number=numbers, users=st.sets(st.sampled_from(USERS), min_size=1))
    def fan_out_again(self, number: int, users: set[str]) -> None:
        """After a crash: what was fanned out is not done again."""
        event, slices = self.posts[number % len(self.posts)]
        standing = {shard_of(user, SHARDS) for user in USERS if self._had(event, user)}
        again = sorted(user for user in users if shard_of(user, SHARDS) in standing)
        for slice_ in slices:
            self.run(fan_out(self.store, event, again, slice_=slice_, shards=SHARDS))

    def _is_any(self, *places: str) -> bool:
        return any(known.place in places for known in self.deliveries.values())

    def _had(self, event: Event, user: str) -> bool:
        shard = shard_of(user, SHARDS)
        return any(
            id_.startswith(event.post) and parse_delivery_id(id_).shard == shard
            for id_ in self.deliveries
        )

    @precondition(lambda self: self._is_any(FIRST, AGAIN))
    @rule(shard=shards, again=st.booleans(), count=st.integers(1, 3))
    def read(self, shard: int, again: bool, count: int) -> None:
        hands = self.owners[shard]
        entries = self.run(hands.sender.read(again, count=count))
        self._hold(hands, entries, again, pending=False)

    @rule(shard=shards)
    def crash(self, shard: int) -> None:
        """Another worker takes over; what the last one was sending may still come to an end."""
        self.former = [*self.former[-2:], self.owners[shard]]
        hands = self.owners[shard] = self.run(self._sender(shard))
        for again in (False, True):
            after = b"0"
            while entries := self.run(hands.sender.read(again, after, count=2)):
                self._hold(hands, entries, again, pending=True)
                after = entries[-1][0]

    def _hold(self, hands: Hands, entries: list[Any], again: bool, *, pending: bool) -> None:
        for id_, raw in entries:
            fields = stream_fields(raw)
            if again:
                due = [fields[b"d"].decode()]
                wanted = [id_ for id_ in due if self.deliveries[id_].place == AGAIN]
            else:
                event, slice_ = decode_event(fields[b"e"]), int(fields[b"s"])
                rows = decode_deliveries(fields[b"d"])
                due = [f"{event.post}-1-{slice_}-{endpoint}" for endpoint, _, _ in rows]
                wanted = [i for i in due if not pending or self.deliveries[i].state is None]
            known = {i: self.deliveries[i] for i in wanted}
            held = Held(id_, again, {i: (d.attempts, d.base) for i, d in known.items()})
            if wanted:
                hands.held.append(held)
            else:
                self._acknowledge(hands, held)

    def _acknowledge(self, hands: Hands, held: Held) -> None:
        which = "redone" if held.again else "done"
        self.run(hands.sender.record(**{which: [held.id]}))

    @precondition(lambda self: any(hands.held for hands in self.owners))
    @rule(kinds=st.lists(outcomes, min_size=1, max_size=3), number=numbers, twice=st.booleans())
    def record(self, kinds: list[str], number: int, twice: bool) -> None:
        """Some of what one sender holds is dealt with; `twice`: the answer was lost."""
        busy = [hands for hands in self.owners if hands.held]
        self._record(busy[number % len(busy)], kinds, number, twice, owner=True)

    @precondition(lambda self: any(hands.held for hands in self.former))
    @rule(kinds=st.lists(outcomes, min_size=1, max_size=3), number=numbers)
    def record_late(self, kinds: list[str], number: int) -> None:
        """The same by one whose lease is another's by now."""
        busy = [hands for hands in self.former if hands.held]
        self._record(busy[number % len(busy)], kinds, number, False, owner=False)

    def _record(
        self, hands: Hands, kinds: list[str], number: int, twice: bool, *, owner: bool
    ) -> None:
        results: list[Result] = []
        closed: dict[bool, list[bytes]] = {False: [], True: []}
        for kind in kinds:
            if not hands.held:
                break
            held = hands.held[number % len(hands.held)]
            delivery, made = held.deliveries.popitem()
            result = self._result(kind, delivery, *made)
            results.append(result)
            self._expect(result, owner)
            if not held.deliveries:
                hands.held.remove(held)
                closed[held.again].append(held.id)
        batch = hands.sender.record
        self.tokens += 1
        for _ in range(2 if twice else 1):
            self.run(
                batch(
                    results,
                    now_ms=self.now_ms,
                    done=closed[False],
                    redone=closed[True],
                    batch_id=b"b%d" % self.tokens,
                )
            )
        self._bound_parked()

    def _result(self, kind: str, delivery: str, attempts: int, base: int) -> Result:
        tried = attempts + 1
        match kind:
            case "delivered":
                return Result(delivery, State.DELIVERED, tried, 200, base=base)
            case "dead":
                return Result(delivery, State.DEAD, tried, 500, "http_5xx", base=base)
            case "retry":
                due_ms = self.now_ms + 1_000
                return Result(delivery, State.RETRYING, tried, 503, "x", due_ms, base)
            case "defer":
                state = State.RETRYING if attempts else State.PENDING
                return Result(delivery, state, attempts, 0, "x", self.now_ms + 500, base)
            case "park":
                state = State.PARKED_RETRYING if attempts else State.PARKED_PENDING
                return Result(delivery, state, attempts, 0, "parked", 0, base)
            case _:
                return Result(delivery, State[kind.upper()], attempts, 0, "x", 0, base)

    def _expect(self, result: Result, owner: bool) -> None:
        """What the outcome makes of the model."""
        known = self.deliveries[result.delivery]
        old, state, base = known.state, result.state, result.base
        if state is State.DELIVERED:
            accepted = old is not State.DELIVERED
        else:
            final = old is not None and old.is_final
            accepted = owner and not final and result.attempts >= known.attempts
        if not accepted:
            return
        if state.is_parked and known.endpoint in self.deleted:
            state, base = State.SUPPRESSED, 0
        assert may_follow(old, state) or old in (State.PARKED_PENDING, State.PARKED_RETRYING)
        self._leave(known)
        known.state, known.attempts, known.due_ms = state, result.attempts, result.due_ms
        known.base = base
        if state.is_parked:
            known.waits = PARKED
            self.parked[known.endpoint] += 1
        elif not state.is_final:
            known.waits = SCHEDULE

    def _leave(self, known: Expected) -> None:
        if known.waits == PARKED:
            self.parked[known.endpoint] -= 1
        known.waits = None

    def _bound_parked(self) -> None:
        """Which of too many parked ones died is the store's to say, how many is not."""
        if all(number <= PARKED_MAX for number in self.parked.values()):
            return
        places = self.run(check_places(self.store, SHARDS))
        for id_, known in self.deliveries.items():
            if known.waits == PARKED and self.parked[known.endpoint] > PARKED_MAX:
                found = places[id_]
                if found.record is not None and found.record.state is State.DEAD:
                    self._leave(known)
                    known.state, known.base = State.DEAD, 0
        assert all(number <= PARKED_MAX for number in self.parked.values())

    @precondition(lambda self: self._is_any(SCHEDULE))
    @rule(shard=shards, later_ms=st.sampled_from([0, 500, 1_000, 60_000]))
    def move_due(self, shard: int, later_ms: int) -> None:
        self.now_ms += later_ms
        hands = self.owners[shard]
        before = self.run(self.store.execute("ZRANGE", keys.retries(shard), 0, -1))
        self.run(hands.sender.move_due(self.now_ms, limit=3))
        after = self.run(self.store.execute("ZRANGE", keys.retries(shard), 0, -1))
        moved = [id_.decode() for id_ in before if id_ not in after]
        room = 4 - self.run(self.store.execute("XLEN", keys.redeliveries(shard))) + len(moved)
        due = [d for i, d in self.deliveries.items() if d.waits == SCHEDULE and self._in(i, shard)]
        ready = sum(1 for known in due if known.due_ms <= self.now_ms)
        assert len(moved) == min(3, ready, max(room, 0))
        for id_ in moved:
            assert self.deliveries[id_].due_ms <= self.now_ms
            self.deliveries[id_].waits = None

    def _in(self, delivery: str, shard: int) -> bool:
        return parse_delivery_id(delivery).shard == shard

    # What calls do

    def _rescheduled(self, chosen: list[str], start_ms: int) -> None:
        for id_ in chosen:
            known = self.deliveries[id_]
            assert known.state is not None
            if known.state.is_final:
                known.base = known.attempts
                known.state = State.RETRYING if known.attempts else State.PENDING
            else:
                known.state = State(known.state.value.lower())
            self._leave(known)
            known.waits = SCHEDULE if start_ms else None
            known.due_ms = start_ms

    @precondition(lambda self: self.deliveries)
    @rule(number=numbers, twice=st.booleans())
    def retry(self, number: int, twice: bool) -> None:
        id_ = list(self.deliveries)[number % len(self.deliveries)]
        for _ in range(2 if twice else 1):
            assert self.run(self.service.ledger.retry(id_, self.now_ms))
        if self.deliveries[id_].place not in (FIRST, AGAIN):
            self._rescheduled([id_], 0)

    @precondition(lambda self: self._is_any(PARKED))
    @rule(endpoint=endpoints, at_once=st.booleans())
    def free(self, endpoint: int, at_once: bool) -> None:
        """What is parked for an endpoint is set free: a probe, a drain, or its deletion."""
        key = keys.parked(self._shard_of(endpoint), self.endpoints[endpoint])
        raw = self.run(self.store.execute("ZRANGE", key, 0, 1))
        ids = [id_.decode() for id_ in raw]
        start_ms = 0 if at_once else self.now_ms
        again = self.service.ledger.reschedule(ids, self.now_ms, start_ms=start_ms)
        assert self.run(again) == len(ids)
        self._rescheduled(ids, start_ms)

    def _shard_of(self, endpoint: int) -> int:
        user = 0
        while endpoint >= sum(ENDPOINTS[: user + 1]):
            user += 1
        return shard_of(USERS[user], SHARDS)

    @precondition(lambda self: self._is_any("dead"))
    @rule(endpoint=st.none() | endpoints)
    def replay(self, endpoint: int | None) -> None:
        chosen = None if endpoint is None else self.endpoints[endpoint]
        count = self.run(
            self.service.ledger.replay(endpoint=chosen, since_ms=None, now_ms=self.now_ms, gap_ms=0)
        )
        dead = self._all(State.DEAD, chosen)
        assert count == len(dead)
        self._rescheduled(dead, self.now_ms)

    def _all(self, state: State, endpoint: str | None) -> list[str]:
        return [
            id_
            for id_, known in self.deliveries.items()
            if known.state is state and endpoint in (None, known.endpoint)
        ]

    @precondition(lambda self: self._is_any("dead", PARKED))
    @rule(endpoint=endpoints)
    def recover(self, endpoint: int) -> None:
        chosen = self.endpoints[endpoint]
        parked = [i for i, d in self.deliveries.items() if d.waits == PARKED]
        lost = [i for i in parked if i.endswith(chosen)] + self._all(State.DEAD, chosen)
        call = self.service.ledger.recover(chosen, 0, self.now_ms, self.now_ms, 0)
        assert self.run(call) == len(lost)
        self._rescheduled(lost, self.now_ms)

    @precondition(lambda self: self.posts)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        event, slices = self.posts[number % len(self.posts)]
        for slice_ in slices:
            for shard in range(SHARDS):
                self.run(cancel(self.store, event, slice_, shard))
        for id_, known in self.deliveries.items():
            if id_.startswith(event.post) and (known.state is None or not known.state.is_final):
                self._leave(known)
                known.state, known.base = State.CANCELLED, 0

    @precondition(lambda self: not self.deleted)
    @rule(endpoint=endpoints)
    def delete(self, endpoint: int) -> None:
        self.run(self.service.endpoints.delete(self.endpoints[endpoint]))
        self.deleted.add(self.endpoints[endpoint])

    # What has to hold

    @invariant()
    def every_delivery_is_where_the_model_says(self) -> None:
        self.is_sound = False
        found = self.run(check_places(self.store, SHARDS))
        assert found.keys() == self.deliveries.keys()
        for id_, known in self.deliveries.items():
            record = found[id_].record
            assert found[id_].place == known.place, id_
            assert (record.state if record else None) is known.state
            if record is not None:
                assert (record.attempts, record.base) == (known.attempts, known.base)
        self.is_sound = True

    def _drain(self) -> None:
        """From wherever it is, every delivery comes to an end, and nothing is left over."""
        for _ in range(100):
            if all(known.state and known.state.is_final for known in self.deliveries.values()):
                break
            for endpoint in range(len(self.endpoints)):
                self.free(endpoint, False)
            for shard, hands in enumerate(self.owners):
                self.move_due(shard, 1_000)
                for again in (False, True):
                    self.read(shard, again, 100)
                while hands.held:
                    self._record(hands, ["delivered"] * 3, 0, False, owner=True)
        for shard in range(SHARDS):
            for again in (False, True):
                self.read(shard, again, 100)  # what is void is found to be so
        for shard, hands in enumerate(self.owners):
            while hands.held:
                self._record(hands, ["delivered"] * 3, 0, False, owner=True)
            for key in (keys.deliveries(shard), keys.redeliveries(shard)):
                assert self.run(self.store.execute("XLEN", key)) == 0
            assert self.run(self.store.execute("ZCARD", keys.retries(shard))) == 0
        self.every_delivery_is_where_the_model_says()
        seen = self.run(check_keys(self.store))
        assert not seen.get("parked")


@pytest.mark.timeout(600)  # when it fails: to find the shortest way there takes its time
def test_each_delivery_is_in_exactly_one_place(
    single_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(single_server.url, monkeypatch, max_examples=25, steps=30)


@pytest.mark.timeout(600)
def test_each_delivery_is_in_exactly_one_place_of_a_cluster(
    store_cluster: StoreCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(store_cluster.url, monkeypatch, max_examples=6, steps=20)


def check(url: str, patch: pytest.MonkeyPatch, *, max_examples: int, steps: int) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.url, Machine.patch = url, patch
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

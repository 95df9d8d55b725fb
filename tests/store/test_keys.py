"""Every key is documented with its type, bound and end, and is in the store as documented."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.delivery import State
from app.domain.ids import shard_of_id
from app.domain.post import Event, EventKind
from app.metrics import Metrics
from app.settings import Settings
from app.store import canary, keys
from app.store.apikeys import ApiKeys, Scope
from app.store.challenges import take
from app.store.client import Store
from app.store.graph import EdgeKind
from app.store.leases import Leases, Slot
from app.store.nodes import Node
from app.store.processes import Publisher
from app.store.schema import open_schema
from tests.store.places import check_keys, check_places, documented_keys
from tests.store.scene import BOB, scene
from tests.store.service import ANYBODY, NOW_MS, SHARDS, Result, cancel, fan_out, users_of

SCRIPTS = Path(keys.__file__).parent / "scripts"
PLAIN = {
    name: value
    for name, value in vars(keys).items()
    if isinstance(value, bytes) and name not in ("GROUP", "CONSUMER")
}
MADE = {
    name: function
    for name, function in vars(keys).items()
    if inspect.isfunction(function) and name != "tag"
}


def example(function: Callable[..., bytes], shard: int) -> bytes:
    values = {"shard": shard, "version": 1, "slice_": 0}
    names = inspect.signature(function).parameters
    return function(**{name: values.get(name, "x") for name in names})


def test_every_key_is_documented_and_nothing_else_is() -> None:
    names = {value.decode() for value in PLAIN.values()}
    made = {example(function, 3).partition(b":")[0].decode() for function in MADE.values()}
    assert documented_keys().keys() == names | made
    assert {name.rstrip("_") for name in MADE} == made


def test_every_key_has_a_type_a_bound_and_an_end() -> None:
    for row in documented_keys().values():
        assert row.type in {"string", "hash", "list", "zset", "stream"}, row
        assert row.bound, row
        assert row.ends, row


def test_bounds_and_ends_name_settings_that_exist() -> None:
    known = set(Settings.model_fields)
    for row in documented_keys().values():
        named = re.findall(r"\b[A-Z][A-Z_]{3,}\b", f"{row.bound} {row.ends}")
        assert {name.lower() for name in named} <= known, row


@pytest.mark.parametrize("name", MADE)
def test_a_key_carries_its_shard_as_the_hash_tag_and_reads_as_documented(name: str) -> None:
    key = example(MADE[name], 7).decode()
    row = documented_keys()[key.partition(":")[0]]
    parameters = list(inspect.signature(MADE[name]).parameters)
    assert re.findall(r"\{(.*?)\}", key) == ["7"]
    assert len(row.pattern.split(":")) == len(key.split(":")) == len(parameters) + 1
    assert keys.tag(7) in key.encode()


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.lua")))
def test_what_a_script_derives_is_a_documented_key_and_said_at_its_head(script: str) -> None:
    text = (SCRIPTS / script).read_text()
    head, _, code = text.partition("\nlocal ")
    derived = set(re.findall(r"'(\w+):' \.\. (?:tag|ARGV\[1\])", code))
    assert derived <= documented_keys().keys()
    match = re.search(r"Derived keys, all with the same tag: ([\w, ]+)\.", head)
    assert derived == set(match[1].split(", ") if match else ()), script


async def test_all_keys_of_a_busy_store_are_as_documented(store: Store) -> None:
    meta = await open_schema(store, SHARDS)
    assert meta.shards == SHARDS
    on = await scene(store, endpoints=6)
    service, sender, (ann,) = on.service, on.sender, users_of(2, 1)
    await ApiKeys(store, api_keys_max=3).create("ci", frozenset({Scope.READ}), NOW_MS)
    for kind in EdgeKind:
        await service.graph.add(kind, ann, BOB)
    await service.posts.accept(ann, "post", b"{}", ANYBODY, idempotency="k", now_ms=NOW_MS)
    leases = Leases(store, "one", life_s=10)
    await leases.acquire([Slot(keys.FANOUT, 0)])
    await leases.beat(keys.FANOUT, NOW_MS)
    node = Node(store, SHARDS, "gateway")
    await store.execute("ZADD", keys.NODES, NOW_MS, node.id)
    await node.join([BOB])
    for version in range(2, 14):
        await fan_out(store, Event(on.event.post, version, EventKind.UPDATED), [BOB])
    await service.inbox.advance({BOB: 1})
    await service.inbox.note_repushes({BOB: (2, 2)})
    await canary.arrived(store, 1, NOW_MS)
    states = [State.DELIVERED, State.DEAD, State.RETRYING, State.PARKED_PENDING, State.SUPPRESSED]
    results = [
        Result(on.id(number), state, due_ms=NOW_MS, log=b"entry")
        for number, state in enumerate(states)
    ]
    await sender.record(results, health=[(on.endpoints[3].id, ["state", "open"], 5)])
    await sender.move_due(NOW_MS)
    await sender.record([Result(on.id(5), State.RETRYING, due_ms=NOW_MS + 5)], done=on.entries)
    reply = [keys.reply(1, "request"), keys.attempts(1, on.endpoints[0].id)]
    await store.call("answer_ping", reply, [b"entry", 60, 3, 3_600])
    await take(store, SHARDS, "receiver.example", 1)
    await store.call("set_shift", [sender.lease, keys.shift(1)], [sender.token, 1_500])
    await Publisher(store, SHARDS, "one", "worker", Metrics()).publish()
    shard = shard_of_id(on.event.post)
    await store.execute("SET", keys.lease(shard, keys.FANOUT), "one", "EX", 60)
    finished = [keys.lease(shard, keys.FANOUT), keys.posts(shard), keys.newest(shard)]
    finished.insert(2, keys.post(shard, on.event.post))
    args = ["one", keys.GROUP, "1-1", 1, 1, on.event.post, 9, 3_600]
    await store.call("finish_event", finished, args)
    await cancel(store, Event(on.event.post, 2, EventKind.UPDATED), 0, 1)
    seen = await check_keys(store)
    assert seen.keys() == documented_keys().keys()
    await check_places(store, SHARDS)

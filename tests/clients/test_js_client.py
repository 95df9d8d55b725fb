"""The JavaScript client against the service: real sockets, each client in a Node of its own."""

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgpack
import pytest

from app.gateway import context
from app.store.client import Store
from app.tokens import make_token
from tests.clients.gateways import restartable
from tests.clients.node import CLIENT, NODE, driven
from tests.flows.service import SETTINGS, Service, serve
from tests.wait import wait_until

VECTORS = CLIENT / "tests" / "vectors.json"
ENCODINGS = ("json", "msgpack")

# What JSON can hold, and msgpack has a form of its own for.
VALUES: Sequence[Any] = (
    *(None, True, False, "", [], {}),
    *(0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 - 1, 2**53 + 2, 2**64 - 1),
    *(-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**53) + 1, -(2**63)),
    *(0.5, -0.1, 1e300, 5e-324),
    *("a", "ä", "€", "😀", "\0", "\ufeffmark", "x" * 31, "x" * 32, "x" * 255, "x" * 256),
    *(list(range(15)), list(range(16))),
    {str(number): number for number in range(15)},
    {str(number): number for number in range(16)},
    {"__proto__": {"polluted": True}, "constructor": 1, "": 2},
    {"type": "post.created", "offset": 12, "post": {"data": [{"a": [{}, [], None]}]}},
)


def token_of(user: str, ttl_s: int = 3_600) -> str:
    return make_token(str(SETTINGS["token_secret"]), user, ttl_s=ttl_s)


@pytest.fixture
async def service(single_store: Store) -> AsyncIterator[Service]:
    async with serve(single_store) as service:
        await service.befriend(("alice", "bob"))
        yield service


def gateway_url(service: Service) -> str:
    return f"ws://127.0.0.1:{service.gateway_port}"


async def post_and_settle(service: Service, count: int, user: str = "bob") -> list[str]:
    """Ids of new posts of alice, once all are in the user's inbox."""
    posts = [await service.post("alice", data={"n": number}) for number in range(count)]

    async def is_there() -> bool:
        return await service.delivery(posts[-1]["id"], user, "socket") is not None

    await wait_until(is_there, 10)
    return [post["id"] for post in posts]


async def cursor_of(service: Service, user: str = "bob") -> int:
    return (await service.call("GET", f"/users/{user}/feed"))["cursor"]


def test_its_rules_hold() -> None:
    """`node --test`, which has a test for each."""
    ran = subprocess.run(
        [NODE, "--test", "--test-reporter=spec", "tests/*.test.js"],
        cwd=CLIENT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "fail 0" in ran.stdout


def test_its_vectors_are_what_msgpack_makes() -> None:
    """To renew them: python -m tests.clients.test_js_client"""
    assert json.loads(VECTORS.read_text()) == vectors()


def vectors() -> list[dict[str, str]]:
    """Values as JSON, and as msgpack in hexadecimal."""
    return [{"json": json.dumps(one), "msgpack": msgpack.packb(one).hex()} for one in VALUES]


@pytest.mark.parametrize("reads", [False, True], ids=["handle", "for await"])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_events_come_in_order(service: Service, encoding: str, reads: bool) -> None:
    url = gateway_url(service)
    async with driven(url, [token_of("bob")], encoding=encoding, reads=reads) as client:
        status = await client.is_in("open")
        assert (status["user"], status["code"]) == ("bob", None)
        posts = await post_and_settle(service, 20)
        events = await client.has("event", 20)
        assert [event["post"]["id"] for event in events] == posts
        assert client.offsets == list(range(1, 21))
        client.command("close")
        assert await client.ends() == 0
        assert client.states == ["connecting", "open", "closed"]
        assert client.of("end") == ([None] if reads else [])


async def test_after_a_restart_of_the_gateway_it_goes_on_where_it_was(
    service: Service, single_store: Store
) -> None:
    async with (
        restartable(single_store) as gateway,
        driven(gateway.url, [token_of("bob")]) as client,
    ):
        await client.is_in("open")
        posts = await post_and_settle(service, 10)
        await client.has("event", 10)
        await gateway.stop()
        waiting = await client.is_in("waiting")
        assert (waiting["code"], waiting["attempt"]) == (4001, 1)
        [goodbye] = client.of("goodbye")
        assert waiting["retryInMs"] >= goodbye["reconnectMs"] > 0
        posts += await post_and_settle(service, 10)
        await gateway.start()
        await client.is_in("open")
        posts += await post_and_settle(service, 10)
        events = await client.has("event", 30)
    assert [event["post"]["id"] for event in events] == posts
    assert client.offsets == list(range(1, 31))


async def test_a_connection_that_is_cut_is_made_again_and_nothing_is_lost(
    service: Service, single_store: Store
) -> None:
    async with (
        restartable(single_store) as gateway,
        driven(gateway.url, [token_of("bob")], encoding="msgpack") as client,
    ):
        posts: list[str] = []
        for times in range(3):
            await client.is_in("open")
            posts += await post_and_settle(service, 5)
            gateway.cut()
            await wait_until(lambda times=times: client.states.count("waiting") == times + 1)
            posts += await post_and_settle(service, 5)
        await client.has("event", 30)
        assert {status["code"] for status in client.of("state")} == {None, 1006}
    assert [event["post"]["id"] for event in client.of("event")] == posts
    assert client.offsets == list(range(1, 31))


async def test_it_goes_on_at_a_position_that_was_kept(service: Service) -> None:
    url = gateway_url(service)
    async with driven(url, [token_of("bob")]) as client:
        await client.is_in("open")
        await post_and_settle(service, 3)
        await wait_until(lambda: client.of("position")[-1:] and client.of("position")[-1]["offset"])
        await client.has("dealt", 3)
    position = client.of("position")[1]
    assert position["offset"] == 1
    async with driven(url, [token_of("bob")], position=position) as client:
        await client.has("event", 2)
        assert client.offsets == [2, 3]
    other = {**position, "epoch": "of a store that was lost"}
    async with driven(url, [token_of("bob")], position=other) as client:
        await client.has("event", 3)
        assert client.offsets == [1, 2, 3]
        assert client.of("reset") == [{"epoch": position["epoch"]}]
        await wait_until(lambda: client.of("position")[-1] == {**position, "offset": 3})


async def test_what_is_gone_is_told(single_store: Store) -> None:
    async with serve(single_store, inbox_max=10, inbox_keep=5) as service:
        await service.befriend(("alice", "bob"))
        await post_and_settle(service, 12)
        position = {"epoch": None, "offset": 2}
        async with driven(gateway_url(service), [token_of("bob")], position=position) as client:
            [gap] = await client.has("gap")
            assert gap["from"] == 3
            await client.has("event", 12 - gap["to"])
            assert client.offsets == list(range(gap["to"] + 1, 13))
            kinds = [kind for kind, _ in client.told if kind in ("gap", "event")]
            assert kinds[0] == "gap"


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_an_event_counts_when_it_was_dealt_with(service: Service, encoding: str) -> None:
    url, options = gateway_url(service), {"ack": "explicit", "holds": True, "encoding": encoding}
    async with driven(url, [token_of("bob")], **options) as client:
        await client.is_in("open")
        posts = await post_and_settle(service, 3)
        await client.has("event")
        client.command("go")
        await client.has("event", 2)
        await service.settled(posts[0], "bob", "delivered", "socket")
        # The second one is begun and not done, the third one waits for it.
        assert client.offsets == [1, 2]
        assert await cursor_of(service) == 1
    # It died with the second one in hand: that comes again.
    async with driven(url, [token_of("bob")], **{**options, "holds": False}) as client:
        await client.has("dealt", 2)
        assert client.offsets == [2, 3]
        await service.settled(posts[2], "bob", "delivered", "socket")


async def test_what_was_dealt_with_behind_a_cut_connection_is_acknowledged(
    service: Service, single_store: Store
) -> None:
    async with (
        restartable(single_store) as gateway,
        driven(gateway.url, [token_of("bob")], ack="explicit", holds=True) as client,
    ):
        await client.is_in("open")
        [post] = await post_and_settle(service, 1)
        await client.has("event")
        await gateway.stop()
        await client.is_in("waiting")
        client.command("go")
        await client.has("dealt")
        await gateway.start()
        await service.settled(post, "bob", "delivered", "socket", 10)
        assert client.offsets == [1]


async def test_a_slow_reader_leaves_and_comes_back_and_misses_nothing(service: Service) -> None:
    url = gateway_url(service)
    async with driven(url, [token_of("bob")], holds=True, bufferMax=5) as client:
        await client.is_in("open")
        posts = await post_and_settle(service, 20)
        full = await client.is_in("waiting")
        assert full["retryInMs"] is None
        for count in range(1, 21):
            await client.has("event", count)
            client.command("go")
        await client.has("dealt", 20)
        assert [event["post"]["id"] for event in client.of("event")] == posts
        assert client.offsets == list(range(1, 21))
        assert client.states.count("waiting") > 1


async def test_a_token_is_renewed_on_the_open_socket(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "LEEWAY_S", 0)  # a socket ends with its token, to the second
    async with driven(gateway_url(service), [], logs=True) as client:
        await client.has("asked")
        client.command("token", short := token_of("bob", 3))
        await client.is_in("open")
        await client.has("asked", 2)
        client.command("token", long := token_of("bob"))
        await wait_until(lambda: {"type": "token", "token": long} in client.of("sent"))
        assert not [url for url in client.of("url") if "token" in url]
        # A client that has no other token sees the end of this one, which the first one outlives.
        async with driven(gateway_url(service), [short]) as other:
            ended = await other.is_in("closed")
            assert ended["code"] == 4002
            assert "give a function" in ended["reason"]
        assert client.states == ["connecting", "open"]
        await post_and_settle(service, 1)
        await client.has("event")


async def test_one_that_expired_is_asked_for_anew(service: Service) -> None:
    tokens = [token_of("bob", -60), token_of("bob")]
    async with driven(gateway_url(service), tokens) as client:
        await client.is_in("open")
        codes = [(status["state"], status["code"]) for status in client.of("state")]
        assert codes[:2] == [("connecting", None), ("waiting", 4002)]
        assert client.of("asked") == [0, 1]


@pytest.mark.parametrize("reads", [False, True], ids=["handle", "for await"])
async def test_who_is_told_not_to_come_back_does_not_and_says_why(
    service: Service, reads: bool
) -> None:
    async with driven(gateway_url(service), ["not.a.token"], reads=reads) as client:
        ended = await client.is_in("closed")
        assert ended["code"] == 4501
        assert "does not hold" in ended["reason"]
        assert await client.ends() == 0
        assert client.states == ["connecting", "closed"]
        ends = [f"{ended['reason']} (4501)"] if reads else []
        assert client.of("end") == ends


async def test_a_silent_connection_is_asked_whether_it_is_there(single_store: Store) -> None:
    async with (
        serve(single_store, ping_s=0.2) as service,
        driven(gateway_url(service), [token_of("bob")], logs=True) as client,
    ):
        await wait_until(lambda: client.of("received").count({"type": "pong"}) >= 3)
        assert {"type": "ping"} in client.of("sent")
        assert client.states == ["connecting", "open"]


async def test_a_url_may_carry_the_token(single_store: Store) -> None:
    async with serve(single_store, token_by_message=False) as service:
        token = token_of("bob")
        url = gateway_url(service)
        async with driven(url, [token], logs=True, tokenIn="url") as client:
            await client.is_in("open")
            assert client.of("url") == [f"{url}/v1/socket?ack=auto&token={token}"]
            assert client.of("sent") == []


async def test_msgpack_gives_what_json_gives(service: Service) -> None:
    url, seen = gateway_url(service), []
    await service.post("alice", data={"values": list(VALUES)})
    post = await service.post("alice", data={"text": "€" * 30_000})
    await service.settled(post["id"], "bob", "pending", "socket")
    await service.call("PATCH", f"/posts/{post['id']}", {"data": {"text": "edited"}})
    await service.call("DELETE", f"/posts/{post['id']}")
    for encoding in ENCODINGS:
        position = {"epoch": None, "offset": 0}
        options = {"encoding": encoding, "position": position}
        async with driven(url, [token_of("bob")], **options) as client:
            seen.append(await client.has("event", 4))
    assert seen[0] == seen[1]
    assert seen[0][0]["post"]["data"]["values"][:6] == [None, True, False, "", [], {}]
    assert seen[0][3]["post"]["deleted"] is True


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(vector) for vector in vectors())
    VECTORS.write_text(f"[\n{lines}\n]\n")

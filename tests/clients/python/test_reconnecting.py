"""Subscriptions that go on, whatever a gateway does to them."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.tokens import make_token
from moments_client import (
    Gap,
    Moments,
    Position,
    Reset,
    State,
    Subscription,
    SubscriptionClosed,
    UnexpectedAnswer,
    Unreachable,
    subscribe,
)
from moments_client import subscription as module
from moments_client.acks import EVERY_S
from tests.clients.python.gateway import Peer, gateway
from tests.clients.python.taking import offsets, take
from tests.wait import wait_until

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between connections that no test has to wait for."""
    monkeypatch.setattr(module, "FIRST_S", 0.001)


def sequence(*steps: Any) -> Any:
    async def part(peer: Peer) -> None:
        await peer.hello()
        for step in steps:
            await step(peer)

    return part


def events_of(*numbers: int) -> Any:
    return lambda peer: peer.events(*numbers)


def closing(code: int, reason: str = "") -> Any:
    return lambda peer: peer.close(code, reason)


def saying(**message: Any) -> Any:
    return lambda peer: peer.say(message)


async def test_a_connection_that_breaks_is_made_again_where_it_was():
    async with (
        gateway(sequence(events_of(1, 2), closing(4001)), sequence(events_of(2, 3))) as peer,
        subscribe(peer.url, "t") as events,
    ):
        assert offsets(await take(events, 3)) == [1, 2, 3]
    assert peer.requests[0][0] == {"ack": "auto"}
    assert peer.requests[1][0] == {"ack": "auto", "after": "2", "epoch": "e"}
    assert peer.requests[0][1] == "t"


async def test_a_hole_is_not_passed_over():
    async with (
        gateway(sequence(events_of(1, 3)), sequence(events_of(2, 3))) as peer,
        subscribe(peer.url, "t") as events,
    ):
        assert offsets(await take(events, 3)) == [1, 2, 3]
    assert peer.requests[1][0]["after"] == "1"


async def test_a_gateway_that_never_greets_is_left(monkeypatch: pytest.MonkeyPatch):
    async def mute(peer: Peer) -> None:
        await peer.listen()

    monkeypatch.setattr(module, "HELLO_TIMEOUT_S", 0.1)
    async with gateway(mute, sequence(events_of(1))) as peer, subscribe(peer.url, "t") as events:
        assert offsets(await take(events, 1)) == [1]
    assert len(peer.requests) == 2


async def test_gaps_and_resets_are_told_between_the_events():
    told: list[object] = []

    async def note(one: object) -> None:
        told.append(one)

    script = sequence(
        events_of(1),
        saying(type="gap", **{"from": 2, "to": 4}),
        events_of(5),
        saying(type="reset", epoch="f"),
        events_of(1),
    )
    async with (
        gateway(script) as peer,
        subscribe(peer.url, "t", on_gap=note, on_reset=told.append) as events,
    ):
        async with asyncio.timeout(5):
            async for event in events:
                told.append(event.position)
                if len(told) == 5:
                    break
    assert told == [
        Position(1, "e"),
        Gap(from_=2, to=4),
        Position(5, "e"),
        Reset(epoch="f"),
        Position(1, "f"),
    ]


async def test_what_nobody_hears_of_is_in_the_log(caplog: pytest.LogCaptureFixture):
    script = sequence(saying(type="gap", **{"from": 1, "to": 4}), events_of(5))
    async with gateway(script) as peer, subscribe(peer.url, "t") as events:
        await take(events, 1)
    assert "events are gone" in caplog.text


@pytest.mark.parametrize("code", [4500, 4501, 4502, 4999])
async def test_a_code_that_says_not_to_come_back_is_obeyed(code: int):
    async with (
        gateway(sequence(events_of(1), closing(code, "because"))) as peer,
        subscribe(peer.url, "t") as events,
    ):
        assert offsets(await take(events, 1)) == [1]
        with pytest.raises(SubscriptionClosed) as caught:
            await take(events, 1)
        assert events.state is State.CLOSED
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert (caught.value.code, caught.value.reason) == (code, "because")
    assert len(peer.requests) == 1


@pytest.mark.parametrize("code", [1000, 1011, 1012, 4001, 4003, 4004, 4408, 4499])
async def test_any_other_code_is_a_reason_to_come_back(code: int):
    async with (
        gateway(sequence(closing(code)), sequence(events_of(1))) as peer,
        subscribe(peer.url, "t") as events,
    ):
        assert offsets(await take(events, 1)) == [1]
    assert len(peer.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 426, 431])
async def test_a_refusal_that_stays_one_is_told(status: int):
    async with gateway(status) as peer, subscribe(peer.url, "t") as events:
        with pytest.raises(SubscriptionClosed, match=f"refused with {status}") as caught:
            await take(events, 1)
    assert caught.value.code == status
    assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_refusal_for_now_is_waited_out(status: int):
    async with (
        gateway(status, status, sequence(events_of(1))) as peer,
        subscribe(peer.url, "t") as events,
    ):
        assert offsets(await take(events, 1)) == [1]
    assert len(peer.requests) == 3


async def test_a_goodbye_says_how_long_to_stay_away():
    leaving = sequence(saying(type="goodbye", reason="shutdown", reconnect_ms=400), closing(4001))
    states: list[tuple[State, float]] = []

    def note(state: State) -> None:
        states.append((state, time.monotonic()))

    async with (
        gateway(leaving, sequence(events_of(1))) as peer,
        subscribe(peer.url, "t", on_state=note) as events,
    ):
        await take(events, 1)
    assert [state for state, _ in states] == [
        State.OPEN,
        State.WAITING,
        State.CONNECTING,
        State.OPEN,
        State.CLOSED,
    ]
    assert states[2][1] - states[1][1] >= 0.39  # a loop's clock has milliseconds


async def test_nobody_there_is_waited_for():
    async with gateway(sequence(events_of(1))) as peer:
        url = peer.url
    waits: list[State] = []
    async with subscribe(url, "t", on_state=waits.append) as events:
        coming = asyncio.ensure_future(anext(events))
        await wait_until(lambda: waits.count(State.CONNECTING) >= 3)
    async with asyncio.timeout(5):
        with pytest.raises(StopAsyncIteration):
            await coming


# Tokens.


def tokens() -> Iterator[str]:
    for number in range(100):
        yield f"token-{number}"


async def test_an_expired_token_is_replaced_and_a_fixed_one_is_the_end():
    given = tokens()
    async with (
        gateway(sequence(events_of(1), closing(4002)), sequence(events_of(2))) as peer,
        subscribe(peer.url, lambda: next(given)) as events,
    ):
        assert offsets(await take(events, 2)) == [1, 2]
    assert [token for _, token in peer.requests] == ["token-0", "token-1"]
    async with (
        gateway(sequence(closing(4002, "token expired"))) as peer,
        subscribe(peer.url, "fixed") as events,
    ):
        with pytest.raises(SubscriptionClosed, match="token expired"):
            await take(events, 1)


async def test_a_token_is_kept_as_long_as_it_is_good():
    given = tokens()
    async with (
        gateway(sequence(closing(4001)), sequence(events_of(1))) as peer,
        subscribe(peer.url, lambda: next(given)) as events,
    ):
        await take(events, 1)
    assert [token for _, token in peer.requests] == ["token-0", "token-0"]


async def test_a_new_token_that_is_refused_is_not_tried_again_and_again():
    given = tokens()
    async with (
        gateway(sequence(closing(4001)), 401, 401, 401) as peer,
        subscribe(peer.url, lambda: next(given)) as events,
    ):
        with pytest.raises(SubscriptionClosed) as caught:
            await take(events, 1)
    assert caught.value.code == 401
    assert [token for _, token in peer.requests] == ["token-0", "token-0", "token-1"]


async def test_a_source_of_tokens_that_is_away_is_asked_again():
    answers: list[str | Exception] = [Unreachable("away", was_sent=False), "good"]

    async def source() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with gateway(sequence(events_of(1))) as peer, subscribe(peer.url, source) as events:
        await take(events, 1)
    assert [token for _, token in peer.requests] == ["good"]


async def test_a_source_of_tokens_that_gives_none_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TOKEN_TIMEOUT_S", 0.05)
    asked = 0

    async def source() -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        return "good"

    async with gateway(sequence(events_of(1))) as peer, subscribe(peer.url, source) as events:
        await take(events, 1)
    assert [token for _, token in peer.requests] == ["good"]


async def test_a_source_of_tokens_that_gives_no_other_holds_up_no_events(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "TOKEN_TIMEOUT_S", 0.05)
    asked = asyncio.Event()

    async def source() -> str:
        if not asked.is_set():
            asked.set()
            return make_token("a secret for user tokens, long enough", "bob", ttl_s=1)
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    hanging = asyncio.Event()

    async def part(peer: Peer) -> None:
        await peer.hello()
        await hanging.wait()
        await peer.events(1)

    async with gateway(part) as peer, subscribe(peer.url, source) as events:
        assert offsets(await take(events, 1)) == [1]


async def test_closing_ends_an_iteration_that_waits_for_a_token():
    asked = asyncio.Event()

    async def source() -> str:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with gateway() as peer:
        events = subscribe(peer.url, source)
        reading = asyncio.ensure_future(anext(events))
        await asked.wait()
        await asyncio.gather(events.close(), events.close())
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(reading, 5)
    assert peer.requests == []


async def test_a_mistake_of_the_source_is_the_consumers_to_see():
    def source() -> str:
        raise KeyError("TOKEN")

    async with gateway() as peer, subscribe(peer.url, source) as events:
        with pytest.raises(KeyError, match="TOKEN"):
            await anext(events)


async def test_a_token_is_renewed_by_message_before_it_ends():
    made = [
        make_token("a secret for user tokens, long enough", f"user-{n}", ttl_s=1) for n in range(5)
    ]
    given = iter(made)
    async with gateway() as peer, subscribe(peer.url, lambda: next(given)) as events:
        waits = asyncio.ensure_future(anext(events))
        await wait_until(lambda: peer.peers and peer.peers[0].said, 5)
        waits.cancel()
        await asyncio.wait((waits,))
    assert peer.peers[0].said[0] == {"type": "token", "token": made[1]}
    assert len(peer.requests) == 1


# Acks.


async def test_what_comes_again_is_acknowledged_again_and_told_once():
    async with (
        gateway(sequence(events_of(1, 2, 1, 2, 3))) as peer,
        subscribe(peer.url, "t", ack="explicit") as events,
    ):
        assert offsets(await take(events, 3)) == [1, 2, 3]
        await wait_until(lambda: {"type": "ack", "offset": 2} in peer.peers[0].said)
    assert all(one["offset"] <= 2 for one in peer.peers[0].said)  # 3 was never done with


async def test_acks_come_no_faster_than_a_gateway_takes_them():
    """It closes a socket for good that says more than 500 things a second, 2,000 at once."""
    count = 1_000
    async with gateway(sequence(events_of(*range(1, count + 1)))) as peer:
        began = time.monotonic()
        async with subscribe(peer.url, "t", ack="explicit") as events:
            await take(events, count)
            waits = asyncio.ensure_future(anext(events))
            await wait_until(lambda: peer.peers[0].said[-1:] == [{"type": "ack", "offset": count}])
            took_s = time.monotonic() - began
            waits.cancel()
            await asyncio.wait((waits,))
    said = [one["offset"] for one in peer.peers[0].said]
    assert said == sorted(set(said))
    assert len(said) <= took_s / EVERY_S + 2


async def test_an_ack_that_was_lost_with_its_connection_is_sent_by_the_next():
    async with (
        gateway(sequence(events_of(1), closing(4001))) as peer,
        subscribe(peer.url, "t", ack="explicit") as events,
    ):
        assert offsets(await take(events, 1)) == [1]
        waits = asyncio.ensure_future(anext(events))
        await wait_until(lambda: len(peer.peers) == 2 and peer.peers[1].said)
        waits.cancel()
        await asyncio.wait((waits,))
    assert peer.peers[1].said[0] == {"type": "ack", "offset": 1}


async def test_what_an_exception_left_undone_is_not_acknowledged():
    async with gateway(sequence(events_of(1, 2))) as peer:
        events = subscribe(peer.url, "t", ack="explicit")
        with pytest.raises(ZeroDivisionError):
            await fail_at(events, 2)
        await wait_until(lambda: peer.peers[0].said == [{"type": "ack", "offset": 1}])
    assert events.position == Position(1, "e")


async def fail_at(events: Subscription, offset: int) -> None:
    async with events:
        async for event in events:
            if event.offset == offset:
                raise ZeroDivisionError


async def test_nothing_is_acknowledged_of_a_log_that_is_gone():
    script = sequence(events_of(1, 2), saying(type="reset", epoch="f"), events_of(1))
    async with gateway(script) as peer, subscribe(peer.url, "t", ack="explicit") as events:
        await take(events, 3)
        await asyncio.sleep(0.05)
    assert [one["offset"] for one in peer.peers[0].said if one["offset"] > 2] == []


# What is no gateway, and what is no argument.


async def test_something_else_on_the_socket_is_told():
    async def babble(peer: Peer) -> None:
        await peer.socket.send("hello?")

    async with gateway(babble) as peer, subscribe(peer.url, "t") as events:
        with pytest.raises(UnexpectedAnswer, match=r"no message of moments\.v1\.json"):
            await take(events, 1)
        assert events.state is State.CLOSED


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "127.0.0.1:8001", "ws://", ""])
def test_what_is_no_socket_url_is_refused_at_once(url: str):
    with pytest.raises(ValueError, match="is no URL such as"):
        subscribe(url, "t")


def test_words_that_are_none_are_refused_at_once():
    with pytest.raises(ValueError, match="ack is auto or explicit"):
        subscribe("ws://x", "t", ack="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="encoding is json or msgpack"):
        subscribe("ws://x", "t", encoding="xml")  # type: ignore[arg-type]


def test_a_gateway_that_nobody_named_is_asked_for():
    with pytest.raises(ValueError, match="socket_url="):
        Moments("https://api.example.com", "mk_any").subscribe("bob")
    for api, socket in (("http://h:8000", "ws://h:8001"), ("https://h:8000", "wss://h:8001")):
        found = Moments(api, "mk_any").subscribe("bob")
        assert found._url == f"{socket}/v1/socket"

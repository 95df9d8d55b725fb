"""One socket on a real connection: what is written when, and what becomes of it."""

import logging

import pytest
from websockets.frames import Close, Opcode

from app.domain.close_codes import OTHER, CloseCode
from app.gateway.connection import CLOSE_TIMEOUT_S
from app.gateway.encoding import JSON, MSGPACK, Encoding, EventFrames
from app.gateway.flood import AT_ONCE, CONTROL_COST
from app.gateway.limits import Limits
from app.gateway.session import HELD, LIVE, OWED_MAX, READING
from tests.gateway.frames import binary, continuation, masked, text
from tests.gateway.rig import EVENT, Rig, Socket, go_live, hand_out, make_post, page, push
from tests.wait import wait_until

LOOPS = ("uvloop", "asyncio")

SMALL = Limits(unsent_bytes_max=2_048, message_bytes_max=4_096)
BUFFER_BYTES = 4_096  # of the kernel, so that little is under way


def by_reason(value: object) -> str:
    """Names a case by what is wrong with it: frames have a mask that is another each time."""
    return "" if isinstance(value, bytes) else str(value)


async def closed_with(one: Socket) -> Close:
    close = await one.client.close_frame()
    assert one.connection.session.is_closed
    return close


async def fill(one: Socket, head: int) -> int:
    """Pushes until the socket takes no more; returns the last offset that was taken."""
    offset = head
    while not one.connection.session.is_full:
        offset += 1
        push(one.connection, offset, size=500)
    return one.connection.session.next - 1


# Out.


async def test_the_hello_comes_first_then_what_was_missed_then_what_is_pushed():
    rig = Rig()
    async with rig.socket(after=3) as one:
        one.connection.go_on()
        assert rig.asked == [one.connection]
        hand_out(one.connection, page(4, 2, cursor=1))
        push(one.connection, 6, 7)
        hello = await one.client.message()
        assert hello == {
            "type": "hello",
            "user": "bob",
            "epoch": "epoch1",
            "head": 5,
            "cursor": 1,
            "ping_s": 25.0,
        }
        event = await one.client.message()
        assert (event["type"], event["offset"], event["post"]["author"]) == (
            *("post.created", 4),
            "ann",
        )
        assert await one.client.offsets(3) == [5, 6, 7]
    assert rig.stats.frames_sent == 2


async def test_what_the_kernel_took_is_acknowledged():
    rig = Rig()
    async with rig.live_socket(head=5) as one:
        assert rig.cursors == {"bob": 5}
        push(one.connection, 6, 7)
        assert rig.cursors == {"bob": 7}


async def test_with_explicit_acknowledgement_only_the_client_acknowledges():
    rig = Rig()
    async with rig.live_socket(head=5, explicit=True) as one:
        push(one.connection, 6, 7)
        assert rig.cursors == {}
        await one.client.send(text('{"type":"ack","offset":6}'))
        await wait_until(lambda: rig.cursors == {"bob": 6})
        assert rig.stats.acks == 1


async def test_what_could_not_be_written_is_not_acknowledged():
    rig = Rig()
    async with rig.live_socket(head=5) as one:
        one.client.sock.close()
        push(one.connection, 6)
        assert rig.cursors == {"bob": 5}
        assert rig.left == [one.connection]
        await wait_until(lambda: rig.lost)
    assert rig.stats.sockets_closed == {1006: 1}


async def test_what_waits_in_the_transport_is_acknowledged_when_it_has_left():
    rig = Rig(SMALL)
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        last = await fill(one, 0)
        assert rig.cursors["bob"] < last
        await one.client.offsets(last)
        await wait_until(lambda: rig.cursors["bob"] == last)


async def test_a_client_ahead_of_the_log_acknowledges_nothing_by_that():
    """The cursor would go to the head, over what the client is then sent."""
    rig = Rig()
    async with rig.socket(after=50) as one:
        one.connection.pause_writing()
        one.connection.resume_writing()
        assert rig.cursors == {}


# Too slow.


async def test_a_socket_that_takes_no_more_is_only_remembered_as_behind():
    rig = Rig(SMALL)
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        last = await fill(one, 0)
        assert one.connection.session.state is HELD
        assert (rig.stats.sockets_behind, rig.stats.fallen_behind) == (1, 1)
        push(one.connection, *range(last + 1, last + 1_000))
        assert one.connection.outgoing == []
        assert await one.client.offsets(last) == list(range(1, last + 1))
        await wait_until(lambda: rig.asked == [one.connection])
        assert rig.stats.sockets_behind == 0
        assert one.connection.session.after == last


async def test_no_more_than_the_limit_and_one_write_is_ever_held():
    rig = Rig(SMALL)
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        frame_bytes = len(EventFrames(EVENT, make_post(500)).text.at(1))
        await fill(one, 0)
        unsent = one.connection._transport.get_write_buffer_size()
        assert SMALL.unsent_bytes_max < unsent <= SMALL.unsent_bytes_max + frame_bytes


async def test_a_page_for_a_slow_reader_stops_where_the_socket_takes_no_more():
    rig = Rig(SMALL)
    async with rig.socket(buffer_bytes=BUFFER_BYTES) as one:
        one.connection.go_on()
        hand_out(one.connection, page(1, 200), size=500)
        assert one.connection.session.state is HELD
        taken = one.connection.session.next - 1
        assert taken < 200
        assert (await one.client.message())["type"] == "hello"
        assert await one.client.offsets(taken) == list(range(1, taken + 1))
        await wait_until(lambda: one.connection.session.state is READING)
        assert rig.asked == [one.connection] * 2


async def test_a_reader_without_progress_is_closed():
    rig = Rig(SMALL)
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        await fill(one, 0)
        rig.pass_time(9.5)
        assert not one.connection.session.is_closed
        rig.pass_time(1)
        unsent = one.connection._transport.get_write_buffer_size()
        close = await closed_with(one)
        assert close.code == CloseCode.TOO_SLOW
        assert close.reason.endswith("bytes unread for too long")
        assert unsent > rig.limits.unsent_bytes_max
        assert rig.stats.sockets_closed == {4408: 1}
        assert rig.stats.sockets_behind == 0


async def test_a_reader_that_reads_a_little_now_and_then_stays():
    rig = Rig(SMALL)
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        push(one.connection, 1, size=100_000)
        unsent = one.connection._transport.get_write_buffer_size
        for _ in range(5):
            before = unsent()
            await one.client.read()
            await wait_until(lambda before=before: unsent() < before)
            rig.pass_time(9)
        assert one.connection.session.is_full
        assert not one.connection.session.is_closed


async def test_a_full_socket_is_not_pinged_and_gets_its_time_when_it_has_drained():
    """A ping would wait behind everything else, and the answer would be called late."""
    rig = Rig(Limits(unsent_bytes_max=2_048, ping_s=5, pong_timeout_s=2, slow_timeout_s=60))
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        rig.pass_time(4)
        last = await fill(one, 0)
        rig.pass_time(30)
        assert not one.connection.session.is_closed
        await one.client.offsets(last)
        await wait_until(lambda: not one.connection.session.is_full)
        rig.pass_time(4)
        assert not one.connection._pulse._pinged_at
        rig.pass_time(2)
        assert (await one.client.frame()).opcode is Opcode.PING


async def test_who_reads_nothing_before_the_hello_cannot_pile_up_answers():
    rig = Rig(SMALL)
    async with rig.socket(buffer_bytes=BUFFER_BYTES) as one:
        for _ in range(400):
            if one.connection.session.is_closed:
                break
            rig.now += 0.5
            one.connection.data_received(masked(Opcode.PING, b"x" * 125))
        assert rig.stats.sockets_closed == {4408: 1}


async def test_a_limit_reached_has_a_log_line(caplog: pytest.LogCaptureFixture):
    rig = Rig(SMALL)
    async with rig.live_socket(buffer_bytes=BUFFER_BYTES) as one:
        await fill(one, 0)
    assert [(line.limit, line.user) for line in caplog.records] == [("unsent_bytes_max", "bob")]


# Unacknowledged.


async def test_what_is_not_acknowledged_is_pushed_again_and_then_the_socket_is_closed():
    rig = Rig(Limits(ping_s=10_000))
    async with rig.live_socket(head=5, explicit=True) as one:
        push(one.connection, 6, 7)
        assert await one.client.offsets(2) == [6, 7]
        for attempt, wait_s in ((2, 30), (3, 60), (4, 120), (5, 240)):
            rig.pass_time(wait_s + 1)
            assert rig.repushed[-1] == ("bob", 6, attempt)
            hand_out(one.connection, page(6, 2))
            assert await one.client.offsets(2) == [6, 7]
        assert rig.stats.repushes == 4
        rig.pass_time(481)
        close = await closed_with(one)
        assert close.code == CloseCode.UNACKNOWLEDGED
        assert "6 was pushed 5 times" in close.reason
    assert rig.stats.sockets_closed == {4004: 1}


async def test_what_is_acknowledged_before_the_hello_counts_once_that_is_said():
    rig = Rig()
    async with rig.socket(after=5, explicit=True) as one:
        one.connection.data_received(text('{"type":"ack","offset":5}'))
        assert rig.cursors == {}
        one.connection.go_on()
        hand_out(one.connection, page(6, 1, cursor=3))
        assert rig.cursors == {"bob": 5}
        assert rig.stats.acks == 1


async def test_what_is_acknowledged_of_a_log_that_is_gone_does_not_count():
    """The cursor would go to the head, over what the client is then sent."""
    rig = Rig()
    async with rig.socket(after=50, explicit=True) as one:
        one.connection.data_received(text('{"type":"ack","offset":50}'))
        one.connection.go_on()
        hand_out(one.connection, page(51, 0, head=5))
        hello, reset = [await one.client.message() for _ in range(2)]
        assert (hello["type"], reset["type"]) == ("hello", "reset")
        assert rig.cursors == {}
        assert not one.connection.session.is_closed


async def test_an_acknowledgement_of_what_was_not_pushed_closes():
    rig = Rig()
    async with rig.live_socket(head=5, explicit=True) as one:
        await one.client.send(text('{"type":"ack","offset":6}'))
        assert (await closed_with(one)).code == CloseCode.BAD_MESSAGE


# Once more.


async def test_an_event_asked_for_once_more_is_fetched_and_written():
    rig = Rig()
    async with rig.live_socket(head=5) as one:
        one.connection.again(3)
        assert rig.repeats == [(one.connection, 3)]
        push(one.connection, 6)
        one.connection.write_again(3, EventFrames(EVENT, make_post()))
        push(one.connection, 7)
        assert await one.client.offsets(3) == [6, 3, 7]
        assert rig.stats.repeats == 1
        assert rig.cursors == {"bob": 7}


async def test_a_full_socket_asks_for_it_once_it_has_drained():
    rig = Rig(SMALL)
    async with rig.live_socket(head=5, buffer_bytes=BUFFER_BYTES) as one:
        last = await fill(one, 5)
        one.connection.again(3)
        one.connection.write_again(4, EventFrames(EVENT, make_post()))
        assert rig.repeats == []
        await one.client.offsets(last - 5)
        await wait_until(lambda: rig.repeats)
        assert rig.repeats == [(one.connection, 3), (one.connection, 4)]


async def test_a_socket_that_opens_asks_for_it_after_its_first_page():
    rig = Rig()
    async with rig.socket(after=5) as one:
        one.connection.again(3)
        assert rig.repeats == []
        go_live(one.connection, 5)
        assert rig.repeats == [(one.connection, 3)]


async def test_an_offset_that_was_not_pushed_yet_is_read_with_all_before_it():
    rig = Rig()
    async with rig.live_socket(head=5) as one:
        one.connection.again(7)
        assert rig.repeats == []
        assert rig.asked == [one.connection]


async def test_more_than_can_be_remembered_is_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
):
    rig = Rig()
    async with rig.socket(after=100) as one:
        for offset in range(1, OWED_MAX + 3):
            one.connection.again(offset)
    assert rig.stats.repeats_dropped == 2
    assert [line.limit for line in caplog.records] == ["repeats"]


# What clients say.


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (text("hello"), "cannot be decoded as moments.v1.json"),
        (text('{"type":"hello"}'), "unknown type 'hello'"),
        (text('{"type":"ack","offset":-1}'), "`offset`"),
        (text('{"type":"ack"}'.encode("utf-16")[2:]), "cannot be decoded"),
        (text("[" * 4_000), "cannot be decoded"),
        (text('{"type":"ack","offset":' + "9" * 4_000 + "}"), "ack of 99"),
        (binary(b"\x80"), "other kind of frame"),
    ],
    ids=by_reason,
)
async def test_anything_else_than_the_contract_allows_closes(said: bytes, reason: str):
    rig = Rig(Limits())
    async with rig.live_socket() as one:
        await one.client.send(said)
        close = await closed_with(one)
        assert close.code == CloseCode.BAD_MESSAGE
        assert reason in close.reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (text("{}"), "other kind of frame"),
        (binary(b"\xc1"), "cannot be decoded as moments.v1.msgpack"),
        (binary(b"\x93\x01\x02\x03"), "object"),
        (binary(b"\xdf\xff\xff\xff\xff"), "cannot be decoded"),
        (binary(b"\x81" * 3_000), "cannot be decoded"),
        (binary(b"\x81\xa4type\xd6\xff\x00\x00\x00\x00"), "unknown type"),
    ],
    ids=by_reason,
)
async def test_the_same_in_msgpack(said: bytes, reason: str):
    rig = Rig()
    async with rig.live_socket(encoding=MSGPACK) as one:
        await one.client.send(said)
        close = await closed_with(one)
        assert close.code == CloseCode.BAD_MESSAGE
        assert reason in close.reason


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (text(b"\xff"), 1007),
        (text("x" * 5_000), 1009),
        (text("x" * 3_000, fin=False) + continuation(b"x" * 3_000, fin=True), 1009),
        (b"\x81\x01x", 1002),
    ],
    ids=by_reason,
)
async def test_what_breaks_the_protocol_closes_and_is_logged(
    said: bytes, code: int, caplog: pytest.LogCaptureFixture
):
    rig = Rig(SMALL)
    async with rig.live_socket() as one:
        with caplog.at_level(logging.INFO):
            await one.client.send(said)
            assert (await closed_with(one)).code == code
        await one.client.end()
    assert rig.stats.sockets_closed == {code: 1}
    assert [(line.message, line.code) for line in caplog.records] == [("closing", code)]


async def test_a_flood_is_closed():
    rig = Rig()
    async with rig.live_socket(explicit=True) as one:
        await one.client.send(text('{"type":"ack","offset":0}') * (AT_ONCE + 1))
        assert (await closed_with(one)).code == CloseCode.FLOOD
    assert rig.stats.sockets_closed == {4502: 1}


@pytest.mark.parametrize("encoding", [JSON, MSGPACK], ids=lambda one: one.subprotocol)
async def test_a_ping_that_is_a_message_is_answered_by_one(encoding: Encoding):
    rig = Rig()
    async with rig.live_socket(encoding=encoding) as one:
        say = text if encoding is JSON else binary
        await one.client.send(say(encoding.encode({"type": "ping"})))
        answer = await one.client.frame()
        assert encoding.decode(bytes(answer.data)) == {"type": "pong"}
        assert answer.opcode == encoding.opcode
    assert rig.stats.frames_sent == 0  # it is no event


async def test_the_hello_comes_before_the_answer_to_a_ping():
    rig = Rig()
    async with rig.socket() as one:
        await one.client.send(text('{"type":"ping"}'))
        await wait_until(lambda: one.connection._incoming is not None)
        go_live(one.connection)
        assert (await one.client.message())["type"] == "hello"
        await one.client.send(text('{"type":"ping"}'))
        assert await one.client.message() == {"type": "pong"}


async def test_a_flood_of_pings_ends_sooner_because_each_buys_an_answer():
    rig = Rig()
    async with rig.live_socket() as one:
        most = AT_ONCE // CONTROL_COST
        await one.client.send(text('{"type":"ping"}') * (most + 1))
        answers = 0
        while (frame := await one.client.frame()).opcode is not Opcode.CLOSE:
            assert bytes(frame.data) == b'{"type":"pong"}'
            answers += 1
        assert (answers, Close.parse(bytes(frame.data)).code) == (most, CloseCode.FLOOD)
    assert rig.stats.sockets_closed == {4502: 1}


async def test_what_comes_behind_the_message_that_closed_is_not_looked_at():
    rig = Rig()
    async with rig.live_socket(head=5, explicit=True) as one:
        push(one.connection, 6)
        await one.client.send(text("bad") + text('{"type":"ack","offset":6}'))
        await closed_with(one)
    assert rig.stats.acks == 0


async def test_a_message_begun_before_we_closed_and_ended_after_it_does_no_harm():
    rig = Rig()
    async with rig.live_socket() as one:
        one.connection.data_received(text("bad") + text("be", fin=False))
        one.connection.data_received(continuation(b"gun", fin=True))
        assert (await closed_with(one)).code == CloseCode.BAD_MESSAGE
        await one.client.send(masked(Opcode.CLOSE))
        await one.client.end()


async def test_a_ping_of_the_client_is_answered():
    rig = Rig()
    async with rig.live_socket() as one:
        await one.client.send(masked(Opcode.PING, b"abc"))
        pong = await one.client.frame()
        assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"abc")


@pytest.mark.parametrize(("code", "counted"), [(1000, 1000), (1001, 1001), (4321, OTHER)])
async def test_a_client_that_closes_is_answered_and_counted(code: int, counted: int):
    rig = Rig()
    async with rig.live_socket() as one:
        await one.client.send(masked(Opcode.CLOSE, Close(code, "bye").serialize()))
        assert (await closed_with(one)).code == code
        await one.client.end()
        await wait_until(lambda: rig.lost)
    assert rig.stats.sockets_closed == {counted: 1}
    assert rig.left == [one.connection]


async def test_a_client_that_is_gone_is_counted_once():
    rig = Rig()
    async with rig.live_socket() as one:
        one.client.sock.close()
        await wait_until(lambda: rig.lost)
    assert rig.stats.sockets_closed == {1006: 1}
    assert rig.left == [one.connection]
    assert rig.wheel.due(10_000.0) == []


# Time.


async def test_silence_is_pinged_and_an_answer_is_enough():
    rig = Rig()
    async with rig.live_socket() as one:
        rig.pass_time(24)
        rig.pass_time(2)
        assert (await one.client.frame()).opcode is Opcode.PING
        await one.client.send(masked(Opcode.PONG))
        await wait_until(lambda: not one.connection._pulse._pinged_at)
        rig.pass_time(24)
        assert not one.connection._pulse._pinged_at
        rig.pass_time(2)
        assert (await one.client.frame()).opcode is Opcode.PING


async def test_no_answer_to_a_ping_closes():
    rig = Rig()
    async with rig.live_socket() as one:
        rig.pass_time(34)
        assert not one.connection.session.is_closed
        rig.pass_time(2)
        assert await closed_with(one) == Close(CloseCode.NO_PONG, "no answer to a ping")
    assert rig.stats.sockets_closed == {4003: 1}


async def test_a_frame_that_never_ends_is_no_sign_of_life():
    """Else a byte now and then would keep a socket, and what it holds of a message, for ever."""
    rig = Rig()
    async with rig.live_socket() as one:
        begun = text("x" * 1_000)
        for second in range(36):
            one.connection.data_received(begun[second : second + 1])
            rig.pass_time(1)
        assert (await closed_with(one)).code == CloseCode.NO_PONG


async def test_whoever_says_something_is_not_pinged():
    rig = Rig()
    async with rig.live_socket(explicit=True) as one:
        for _ in range(5):
            rig.pass_time(20)
            one.connection.data_received(text('{"type":"ack","offset":0}'))
        assert not one.connection._pulse._pinged_at


async def test_a_token_ends_the_socket_and_a_new_one_prolongs_it():
    rig = Rig(Limits(ping_s=10_000))
    async with rig.live_socket(token="bob/100") as one:
        await one.client.send(text('{"type":"token","token":"bob/500"}'))
        await wait_until(lambda: one.connection._expires_at > rig.now + 400)
        rig.pass_time(495)
        assert not one.connection.session.is_closed
        rig.pass_time(10)
        assert await closed_with(one) == Close(CloseCode.TOKEN_EXPIRED, "token expired")


async def test_a_new_token_may_also_end_sooner():
    rig = Rig(Limits(ping_s=10_000))
    async with rig.live_socket() as one:
        one.connection.data_received(text('{"type":"token","token":"bob/10"}'))
        rig.pass_time(12)
        assert (await closed_with(one)).code == CloseCode.TOKEN_EXPIRED


@pytest.mark.parametrize("token", ["b0b", "eve"])
async def test_a_new_token_has_to_hold_and_be_the_same_users(token: str):
    rig = Rig()
    async with rig.live_socket() as one:
        await one.client.send(text(f'{{"type":"token","token":"{token}"}}'))
        assert (await closed_with(one)).code == CloseCode.BAD_TOKEN


async def test_a_client_that_does_not_answer_our_close_is_cut():
    rig = Rig()
    async with rig.live_socket() as one:
        one.connection.close(CloseCode.FLOOD)
        await one.client.close_frame()
        rig.pass_time(CLOSE_TIMEOUT_S - 1)
        assert rig.lost == 0
        rig.pass_time(2)
        await wait_until(lambda: rig.lost)


async def test_nothing_is_sent_behind_our_close():
    rig = Rig()
    async with rig.live_socket(head=5) as one:
        frames = EventFrames(EVENT, make_post())
        one.connection.session.push(6)
        one.connection.outgoing.append(frames.text.at(6))
        one.connection.close(CloseCode.FLOOD)
        one.connection.outgoing.append(frames.text.at(7))
        one.connection.flush()
        one.connection.close(CloseCode.TOO_SLOW)
        assert await one.client.offsets(1) == [6]
        assert (await one.client.close_frame()).code == CloseCode.FLOOD
        await one.client.send(masked(Opcode.CLOSE))
        await one.client.end()
    assert rig.stats.sockets_closed == {4502: 1}


async def test_leaving_says_when_to_come_back():
    rig = Rig()
    async with rig.live_socket() as one:
        assert one.connection.session.state is LIVE
        one.connection.leave("shutdown", 750)
        assert await one.client.message() == {
            "type": "goodbye",
            "reason": "shutdown",
            "reconnect_ms": 750,
        }
        assert (await closed_with(one)).code == CloseCode.GOING_AWAY

import pytest
from hypothesis import given
from hypothesis.strategies import binary as any_bytes
from hypothesis.strategies import integers, lists
from websockets.frames import Close, Opcode

from app.gateway.flood import AT_ONCE, CONTROL_COST
from app.gateway.incoming import PORTION_BYTES, REASON_BYTES_MAX, Incoming, Message
from tests.gateway.frames import binary, continuation, masked, read_frames, text

BYTES_MAX = 10_000


def make(now: float = 0.0) -> Incoming:
    return Incoming(BYTES_MAX, now)


def take(incoming: Incoming, data: bytes, now: float = 0.0) -> list[Message]:
    return list(incoming.messages(data, now))


def failure(incoming: Incoming) -> Close:
    """What its close frame says; then it sends no more."""
    *frames, end = incoming.to_send()
    assert end == b""
    (frame,) = read_frames(b"".join(frames))
    close = Close.parse(bytes(frame.data))
    assert incoming.close_code == close.code
    assert incoming.close_reason == close.reason
    return close


def test_a_message_in_one_frame():
    assert take(make(), text("hello")) == [Message(True, b"hello")]
    assert take(make(), binary(b"\x00\xff")) == [Message(False, b"\x00\xff")]


def test_several_messages_in_one_read():
    read = text("1") + binary(b"2") + text("")
    assert take(make(), read) == [Message(True, b"1"), Message(False, b"2"), Message(True, b"")]


@given(lists(integers(1, 50), min_size=1, max_size=40))
def test_messages_may_arrive_in_any_pieces(cuts: list[int]):
    incoming = make()
    data = text("first") + text("se", fin=False) + continuation(b"cond", fin=True) + binary(b"3")
    messages: list[Message] = []
    start = 0
    for cut in [*cuts, len(data)]:
        messages += take(incoming, data[start : start + cut])
        start += cut
    assert messages == [Message(True, b"first"), Message(True, b"second"), Message(False, b"3")]


def test_a_ping_between_fragments_is_answered_and_does_no_harm():
    incoming = make()
    read = text("he", fin=False) + masked(Opcode.PING, b"abc") + continuation(b"y", fin=True)
    assert take(incoming, read) == [Message(True, b"hey")]
    (pong,) = read_frames(b"".join(incoming.to_send()))
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"abc")


def test_a_message_may_be_as_large_as_the_limit_and_no_larger():
    assert len(take(make(), text("x" * BYTES_MAX))[0].payload) == BYTES_MAX
    incoming = make()
    assert take(incoming, text("x" * (BYTES_MAX + 1))) == []
    assert failure(incoming).code == 1009


def test_the_limit_is_for_all_fragments_together():
    incoming = make()
    half = b"x" * (BYTES_MAX // 2 + 1)
    assert take(incoming, text(half, fin=False) + continuation(half, fin=True)) == []
    assert failure(incoming).code == 1009


def test_empty_fragments_without_end_are_not_kept():
    incoming = make()
    take(incoming, text("", fin=False))
    for second in range(100):
        take(incoming, continuation(b"", fin=False) * 100, now=float(second))
    assert len(incoming._fragments or b"") == 0
    assert take(incoming, continuation(b"end", fin=True), now=200.0) == [Message(True, b"end")]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in fragments"])
def test_a_text_that_is_not_utf_8_fails_the_connection(whole: bool):
    incoming = make()
    read = text(b"\xc3\x28") if whole else text(b"\xc3", fin=False) + continuation(b"(", fin=True)
    assert take(incoming, text("fine") + read + text("late")) == [Message(True, b"fine")]
    assert failure(incoming).code == 1007


def test_a_text_that_cannot_become_utf_8_any_more_is_not_waited_for():
    incoming = make()
    assert take(incoming, text(b"fine", fin=False) + continuation(b"\xce\xba\xff", fin=False)) == []
    assert failure(incoming).code == 1007


def test_a_text_that_ends_within_a_character_is_not_utf_8():
    incoming = make()
    assert take(incoming, text(b"\xe2", fin=False) + continuation(b"\x82", fin=True)) == []
    assert failure(incoming).code == 1007


def test_bytes_in_fragments_need_not_be_utf_8():
    read = binary(b"\xff", fin=False) + continuation(b"\xfe", fin=True) + text("x")
    assert take(make(), read) == [Message(False, b"\xff\xfe"), Message(True, b"x")]


def test_a_character_may_be_cut_by_fragments():
    euro = "€".encode()
    read = text(euro[:1], fin=False) + continuation(euro[1:], fin=True)
    assert take(make(), read) == [Message(True, euro)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x02hi", id="not masked"),
        pytest.param(bytes([text("hi")[0] | 0x40]) + text("hi")[1:], id="a reserved bit"),
        pytest.param(b"\x83\x80\0\0\0\0", id="a reserved opcode"),
        pytest.param(b"\x09\x80\0\0\0\0", id="a fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7e\0\0\0\0" + bytes(126), id="a ping too long"),
        pytest.param(continuation(b"hi", fin=True), id="a continuation of nothing"),
        pytest.param(text("h", fin=False) + text("i"), id="a message in a message"),
        pytest.param(masked(Opcode.CLOSE, b"\x03"), id="a close code of one byte"),
        pytest.param(masked(Opcode.CLOSE, b"\x03\xed"), id="a close code nobody may send"),
    ],
)
def test_what_breaks_the_protocol_fails_the_connection(data: bytes):
    incoming = make()
    assert take(incoming, data) == []
    assert failure(incoming).code == 1002


def test_a_client_that_closes_is_answered_with_its_own_code():
    incoming = make()
    assert incoming.close_code is None
    take(incoming, masked(Opcode.CLOSE, Close(3456, "bye").serialize()))
    assert failure(incoming) == Close(3456, "bye")


def test_a_client_may_close_in_the_middle_of_a_message():
    incoming = make()
    bye = Close(1000, "bye")
    read = text("half", fin=False) + masked(Opcode.CLOSE, bye.serialize())
    assert take(incoming, read + continuation(b"rest", fin=True)) == []
    assert failure(incoming) == bye


def test_a_client_may_close_without_a_code():
    incoming = make()
    take(incoming, masked(Opcode.CLOSE))
    assert incoming.close_code == 1005


def test_what_comes_behind_a_close_is_not_looked_at():
    incoming = make()
    assert take(incoming, masked(Opcode.CLOSE) + text("more")) == []
    assert take(incoming, text("and more")) == []


def test_our_close_comes_first_and_only_once():
    incoming = make()
    incoming.close(4408, "too slow")
    incoming.close(4500, "again")
    (frame,) = read_frames(b"".join(incoming.to_send()))
    assert Close.parse(bytes(frame.data)) == Close(4408, "too slow")
    assert incoming.close_code == 4408
    assert take(incoming, masked(Opcode.CLOSE, Close(4408, "").serialize())) == []
    assert incoming.to_send() == [b""]
    assert incoming.close_code == 4408


def test_after_our_close_nothing_is_looked_at_but_the_answer():
    """What came before may have been left half looked at."""
    incoming = make()
    for _ in incoming.messages(text("bad") + text("be", fin=False), 0.0):
        incoming.close(4500, "bad")
        break
    assert take(incoming, continuation(b"gun", fin=True) + text("more")) == []
    assert take(incoming, masked(Opcode.PING, b"?") + text(b"\xff")) == []
    (frame,) = read_frames(b"".join(incoming.to_send()))
    assert Close.parse(bytes(frame.data)) == Close(4500, "bad")
    take(incoming, masked(Opcode.CLOSE, Close(4500, "").serialize()))
    assert incoming.to_send() == [b""]


@pytest.mark.parametrize("letter", ["x", "é", "€", "𝄞"])
def test_a_long_reason_is_cut_between_characters(letter: str):
    incoming = make()
    incoming.close(4500, letter * 200)
    (frame,) = read_frames(b"".join(incoming.to_send()))
    reason = Close.parse(bytes(frame.data)).reason
    assert set(reason) == {letter}
    assert REASON_BYTES_MAX - 4 < len(reason.encode()) <= REASON_BYTES_MAX


def test_a_flood_of_messages_is_noticed_before_all_of_it_is_read():
    incoming = make()
    one = text("")
    assert len(take(incoming, one * (AT_ONCE + 500))) == AT_ONCE
    assert incoming.is_flooding


def test_a_flood_of_pings_is_noticed_sooner_because_each_is_answered():
    incoming = make()
    ping = masked(Opcode.PING)
    most = AT_ONCE // CONTROL_COST
    take(incoming, ping * (most + 200))
    assert incoming.is_flooding
    answers = read_frames(b"".join(incoming.to_send()))
    assert most <= len(answers) <= most + PORTION_BYTES // len(ping)


def test_as_many_messages_in_the_course_of_time_are_no_flood():
    incoming = make()
    for second in range(20):
        assert len(take(incoming, text("") * 400, now=float(second))) == 400
    assert not incoming.is_flooding


@given(any_bytes(max_size=300))
def test_nothing_a_client_sends_breaks_it(data: bytes):
    incoming = make()
    take(incoming, data)
    incoming.to_send()
    take(incoming, data)
    assert incoming.close_code is None or 1000 <= incoming.close_code < 5000

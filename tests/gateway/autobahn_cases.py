"""Cases of the Autobahn test suite for servers, sections 1 to 7, 9 in part, and 10: what a client
sends, and what a server that only echoes has to answer. After autobahntestsuite 25.10.1, whose
numbers they have.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from websockets.frames import Opcode

from tests.gateway.frames import binary, continuation, masked, text

KIB, MIB = 1024, 1024 * 1024
TEXT, BINARY, PONG = Opcode.TEXT, Opcode.BINARY, Opcode.PONG
HELLO, BYTES = b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"

Answer = tuple[Opcode, bytes]


@dataclass(frozen=True)
class Case:
    """`parts` are written one after the other. `late` only follows when the server has not closed
    by then, as it should have: one that waits for more than it needs is not strict.

    `code` is that of the server's close frame; 1000 answers the close frame of the client, which is
    added to the parts, and 1005 one without a code.
    """

    parts: tuple[bytes, ...]
    answers: tuple[Answer, ...] = ()
    code: int = 1000
    late: tuple[bytes, ...] = ()
    is_informational: bool = False

    def in_chops(self, size: int) -> "Case":
        data = b"".join(self.parts)
        chops = (data[start : start + size] for start in range(0, len(data), size))
        return replace(self, parts=tuple(chops))


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """Any frame, right or wrong; the mask is zero."""
    length = len(payload)
    head = bytes((fin << 7 | rsv << 4 | opcode, 0x80 | (length if length < 126 else 126)))
    return head + (length.to_bytes(2, "big") if length >= 126 else b"") + bytes(4) + payload


def closing(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(8, (b"" if code is None else code.to_bytes(2, "big")) + reason)


BYE = closing(1000)


def fine(*parts: bytes, answers: tuple[Answer, ...] = ()) -> Case:
    return Case((*parts, BYE), answers)


def fails(*parts: bytes, answers: tuple[Answer, ...] = (), code: int = 1002) -> Case:
    return Case(parts, answers, code)


def fragments(payload: bytes, size: int, opcode: Opcode = TEXT) -> bytes:
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    first, *others = pieces
    rest = [continuation(piece, fin=n == len(others)) for n, piece in enumerate(others, 1)]
    return masked(opcode, first, fin=not others) + b"".join(rest)


def _framing() -> Iterator[tuple[str, Case]]:
    sizes = (0, 125, 126, 127, 128, 65_535, 65_536, 65_536)
    for opcode, section, byte in ((TEXT, "1.1", b"*"), (BINARY, "1.2", b"\xfe")):
        for number, size in enumerate(sizes, 1):
            case = fine(masked(opcode, byte * size), answers=((opcode, byte * size),))
            yield f"{section}.{number}", case.in_chops(997) if number == 8 else case


def _pings() -> Iterator[tuple[str, Case]]:
    for number, payload in enumerate((b"", HELLO, BYTES, b"\xfe" * 125), 1):
        yield f"2.{number}", fine(frame(9, payload), answers=((PONG, payload),))
    yield "2.5", fails(frame(9, b"\xfe" * 126))
    yield "2.6", fine(frame(9, b"\xfe" * 125), answers=((PONG, b"\xfe" * 125),)).in_chops(1)
    yield "2.7", fine(frame(10))
    yield "2.8", fine(frame(10, b"unsolicited pong payload"))
    unasked = frame(10, b"unsolicited pong payload")
    yield "2.9", fine(unasked, frame(9, b"ping payload"), answers=((PONG, b"ping payload"),))
    payloads = [b"payload-%d" % number for number in range(10)]
    ten = fine(
        *(frame(9, payload) for payload in payloads),
        answers=tuple((PONG, payload) for payload in payloads),
    )
    yield "2.10", ten
    yield "2.11", ten.in_chops(1)


def _behind_a_message(bad: bytes) -> Case:
    """What comes before the frame that breaks the protocol is still answered."""
    return fails(text(HELLO) + bad + frame(9), answers=((TEXT, HELLO),))


def _reserved() -> Iterator[tuple[str, Case]]:
    yield "3.1", fails(frame(1, HELLO, rsv=1))
    yield "3.2", _behind_a_message(frame(1, HELLO, rsv=2))
    yield "3.3", fails(*(text(HELLO), frame(1, HELLO, rsv=3), frame(9)), answers=((TEXT, HELLO),))
    yield "3.4", _behind_a_message(frame(1, HELLO, rsv=4)).in_chops(1)
    yield "3.5", fails(frame(2, BYTES, rsv=5))
    yield "3.6", fails(frame(2, HELLO, rsv=6))
    yield "3.7", fails(frame(8, rsv=7))
    for section, opcode in (("4.1", 3), ("4.2", 11)):
        yield f"{section}.1", fails(frame(opcode))
        yield f"{section}.2", fails(frame(opcode + 1, b"reserved opcode payload"))
        yield f"{section}.3", _behind_a_message(frame(opcode + 2))
        yield f"{section}.4", _behind_a_message(frame(opcode + 3, HELLO))
        yield f"{section}.5", _behind_a_message(frame(opcode + 4, HELLO)).in_chops(1)


def _fragmentation() -> Iterator[tuple[str, Case]]:
    one, two = text(b"fragment1", fin=False), continuation(b"fragment2", fin=True)
    whole = ((TEXT, b"fragment1fragment2"),)
    yield "5.1", fails(frame(9, b"fragment1", fin=False), continuation(b"fragment2", fin=True))
    yield "5.2", fails(frame(10, b"fragment1", fin=False), continuation(b"fragment2", fin=True))
    yield "5.3", fine(one + two, answers=whole)
    yield "5.4", fine(one, two, answers=whole)
    yield "5.5", fine(one + two, answers=whole).in_chops(1)
    ping, pong = frame(9, b"ping payload"), (PONG, b"ping payload")
    yield "5.6", fine(one + ping + two, answers=(pong, *whole))
    yield "5.7", fine(one, ping, two, answers=(pong, *whole))
    yield "5.8", fine(one + ping + two, answers=(pong, *whole)).in_chops(1)
    for number, fin in ((9, True), (12, False)):
        nothing = continuation(b"non-continuation payload", fin=fin)
        yield f"5.{number}", fails(nothing + text(HELLO))
        yield f"5.{number + 1}", fails(nothing, text(HELLO))
        yield f"5.{number + 2}", fails(nothing + text(HELLO)).in_chops(1)
    more = continuation(b"fragment3", fin=False) + text(b"fragment4")
    yield "5.15", fails(one + two + more, answers=whole)
    for number, fin in ((16, False), (17, True)):
        once = continuation(b"fragment1", fin=fin) + text(b"fragment2", fin=False)
        yield f"5.{number}", fails((once + continuation(b"fragment3", fin=True)) * 2)
    yield "5.18", fails(one + text(b"fragment2"))
    five = [b"fragment%d" % number for number in range(1, 6)]
    legal = (
        *(text(five[0], fin=False), continuation(five[1], fin=False), frame(9, b"pongme 1!")),
        *(continuation(five[2], fin=False), continuation(five[3], fin=False)),
        *(frame(9, b"pongme 2!"), continuation(five[4], fin=True)),
    )
    echoed = ((PONG, b"pongme 1!"), (PONG, b"pongme 2!"), (TEXT, b"".join(five)))
    yield "5.19", fine(b"".join(legal[:3]), b"".join(legal[3:]), answers=echoed)
    yield "5.20", fine(*legal, answers=echoed)


GREEK = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
SURROGATE = GREEK + b"\xed\xa0\x80edited"
TOO_HIGH = GREEK + b"\xf4\x90\x80\x80edited"


def _utf8() -> Iterator[tuple[str, Case]]:
    def echoed(payload: bytes, *parts: bytes) -> Case:
        return fine(*parts, answers=((TEXT, payload),))

    yield "6.1.1", echoed(b"", text(b""))
    middle = b"middle frame payload"
    for number, inside in ((2, b""), (3, middle)):
        sent = text(b"", fin=False) + continuation(inside, fin=False) + continuation(b"", fin=True)
        yield f"6.1.{number}", echoed(inside, sent)
    words = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    cut = len("Hello-µ@ßöä".encode())
    yield "6.2.1", echoed(words, text(words))
    halves = text(words[:cut], fin=False) + continuation(words[cut:], fin=True)
    yield "6.2.2", echoed(words, halves)
    yield "6.2.3", echoed(words, fragments(words, 1))
    yield "6.2.4", echoed(GREEK, fragments(GREEK, 1))
    yield "6.3.1", fails(text(SURROGATE), code=1007)
    yield "6.3.2", fails(fragments(SURROGATE, 1), code=1007)
    for number, first, last in ((1, 11, 15), (2, 12, 13)):
        parts = TOO_HIGH[:first], TOO_HIGH[first:last], TOO_HIGH[last:]
        begun = (text(parts[0], fin=False), continuation(parts[1], fin=False))
        yield f"6.4.{number}", Case(begun, (), 1007, (continuation(parts[2], fin=True),))
        head = frame(1, TOO_HIGH)[: -len(TOO_HIGH)]
        yield f"6.4.{number + 2}", Case((head + parts[0], parts[1]), (), 1007, (parts[2],))
    for section, sequences in enumerate(_sequences(), 5):
        for number, (is_valid, payload) in enumerate(sequences, 1):
            sent = text(payload)
            case = echoed(payload, sent) if is_valid else fails(sent, code=1007)
            yield f"6.{section}.{number}", case


def _sequences() -> Iterator[list[tuple[bool, bytes]]]:
    """Markus Kuhn's UTF-8-test.txt: each with whether it is valid."""

    def valid(*payloads: bytes) -> list[tuple[bool, bytes]]:
        return [(True, payload) for payload in payloads]

    def invalid(*payloads: bytes) -> list[tuple[bool, bytes]]:
        return [(False, payload) for payload in payloads]

    yield valid(*(f"hello{letter}world".encode() for letter in "$¢€𤭢"), GREEK)
    ends = {2, 5, 7, 9, 11}  # of the characters of GREEK
    yield [(end in ends, GREEK[:end]) for end in range(1, 12)]
    yield valid(b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80")
    yield invalid(b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80")
    yield valid(b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf")
    yield invalid(b"\xf7\xbf\xbf\xbf", b"\xfb" + b"\xbf" * 4, b"\xfd" + b"\xbf" * 5)
    edges = valid(b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf")
    yield edges + invalid(b"\xf4\x90\x80\x80")
    alone = b"\x80\xbf\x80\xbf\x80\xbf"
    yield invalid(b"\x80", b"\xbf", *(alone[:n] for n in range(2, 7)), bytes(range(0x80, 0xBF)))
    starts = ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    yield invalid(*(b" ".join(bytes((n,)) for n in range(*pair)) + b" " for pair in starts))
    cut = [
        *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"),
        *(b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"),
    ]
    yield invalid(*cut)
    yield invalid(b"".join(cut))
    yield invalid(b"\xfe", b"\xff", b"\xfe\xfe\xff\xff")
    # Heads of characters in more bytes than they need.
    shortest = (b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8" + b"\x80" * 3, b"\xfc" + b"\x80" * 4)
    longest = (
        b"\xc1",
        b"\xe0\x9f",
        b"\xf0\x8f\xbf",
        b"\xf8\x87\xbf\xbf",
        b"\xfc\x83" + b"\xbf" * 3,
    )
    for heads, last in ((shortest, b"\xaf"), (longest, b"\xbf"), (shortest, b"\x80")):
        yield invalid(*(head + last for head in heads))
    high = (b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf")
    yield invalid(*high, b"\xed\xb0\x80", b"\xed\xbe\x80", b"\xed\xbf\xbf")
    yield invalid(*(one + two for one in high for two in (b"\xed\xb0\x80", b"\xed\xbf\xbf")))
    planes = [chr(plane << 16 | low).encode() for plane in range(1, 17) for low in (0xFFFE, 0xFFFF)]
    yield valid(b"\xef\xbf\xbe", b"\xef\xbf\xbf", *planes)
    yield valid(*(chr(code).encode() for code in range(0xFFF9, 0x10000)))


def _closing() -> Iterator[tuple[str, Case]]:
    yield "7.1.1", fine(text(b"Hello World!"), answers=((TEXT, b"Hello World!"),))
    yield "7.1.2", Case((BYE + closing(),))
    yield "7.1.3", Case((BYE + frame(9),))
    yield "7.1.4", Case((BYE + text(b"Hello World!"),))
    begun = text(b"fragment1", fin=False)
    yield "7.1.5", Case((begun + BYE + continuation(b"fragment2", fin=True),))
    long = (b"BAsd7&jh23" * (256 * KIB // 10 + 1))[: 256 * KIB]
    sent = text(long) + text(b"Hello World!") + BYE + frame(9)
    yield "7.1.6", Case((sent,), ((TEXT, long), (TEXT, b"Hello World!")), is_informational=True)
    yield "7.3.1", Case((closing(),), (), 1005)
    yield "7.3.2", fails(frame(8, b"a"))
    yield "7.3.3", fine()
    yield "7.3.4", Case((closing(1000, b"Hello World!"),))
    yield "7.3.5", Case((closing(1000, b"*" * 123),))
    yield "7.3.6", fails(closing(1000, b"*" * 124))
    yield "7.5.1", fails(closing(1000, SURROGATE), code=1007)
    allowed = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for number, code in enumerate(allowed, 1):
        yield f"7.7.{number}", Case((closing(code),), (), code)
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield f"7.9.{number}", fails(closing(code))
    yield "7.13.1", replace(fails(closing(5000)), is_informational=True)
    yield "7.13.2", replace(fails(closing(65_535)), is_informational=True)


def _limits() -> Iterator[tuple[str, Case]]:
    """Those of section 9 that take little time, and 10."""
    for section, opcode, byte in (("9.1", TEXT, b"*"), ("9.2", BINARY, b"\xfe")):
        for number, size in ((1, 64 * KIB), (2, 256 * KIB), (3, MIB)):
            payload = byte * size
            sent = text(payload) if opcode is TEXT else binary(payload)
            yield f"{section}.{number}", fine(sent, answers=((opcode, payload),))
    for section, opcode in (("9.3", TEXT), ("9.4", BINARY)):
        for number, size in ((3, KIB), (4, 4 * KIB), (5, 16 * KIB)):
            payload = b"*" * (4 * MIB)
            sent = fragments(payload, size, opcode)
            yield f"{section}.{number}", fine(sent, answers=((opcode, payload),))
    payload = b"*" * 65_536
    yield "10.1.1", fine(fragments(payload, 1_300), answers=((TEXT, payload),))


CASES: dict[str, Case] = dict(
    pair
    for section in (_framing, _pings, _reserved, _fragmentation, _utf8, _closing, _limits)
    for pair in section()
)

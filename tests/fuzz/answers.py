"""Answers to a request as no good server gives them: arbitrary bytes, and good ones mutated."""

from dataclasses import dataclass

from hypothesis import strategies as st

OK = b"HTTP/1.1 200 OK"
STATUS_LINES = [
    *(b"HTTP/1.1 %d X" % code for code in (200, 202, 204, 301, 304, 410, 429, 500, 503, 599)),
    *(b"HTTP/1.1 %d X" % code for code in (100, 101, 102, 103, 199, 0, 99, 600, 999, 1000)),
    *(b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/2 200", b"HTTP/0.9 200 OK"),
    *(b"HTTP/1.1  200 OK", b"HTTP/1.1 20", b"HTTP/1.1 +200 OK", b"http/1.1 200 OK", b"ICY 200 OK"),
    *(b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 \xff", b" HTTP/1.1 200 OK", b"POST / HTTP/1.1", b""),
]
LENGTHS = [b"0", b"2", b"5", b"05", b"+5", b"-1", b"5, 5", b"5, 6", b"0x5", b"5 ", b"", b"5.0"]
LENGTHS += [b"99999", b"9" * 18, b"9" * 19, b"18446744073709551616", b"9" * 400, b"\xb2", b"5;"]
CODINGS = [b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked,chunked"]
CODINGS += [b" chunked", b"identity", b"xchunked", b"chunked\x0b", b'"chunked"', b"", b"chunked;a"]
CONNECTIONS = [b"close", b"keep-alive", b"Keep-Alive, close", b"upgrade", b"close\x00", b",", b""]
FIELDS = st.one_of(
    st.sampled_from(LENGTHS).map(b"Content-Length: %b".__mod__),
    st.sampled_from(CODINGS).map(b"Transfer-Encoding: %b".__mod__),
    st.sampled_from(CONNECTIONS).map(b"Connection: %b".__mod__),
    st.binary(max_size=20).map(b"Retry-After: %b".__mod__),
    st.sampled_from([b"Upgrade: h2c", b"Trailer: x", b"x:", b":", b"x", b" folded", b"\tfolded"]),
    st.sampled_from([b"Content-Length : 5", b"Content-Length\t:5", b"Transfer_Encoding: chunked"]),
    st.builds(b"%b: %b".__mod__, st.tuples(st.binary(max_size=6), st.binary(max_size=9))),
    st.just(b"x: " + b"y" * 300),
)
BODIES = [b"", b"ok", b"hello", b"hello, and more than was said", b"x" * 700]
CHUNKS = [b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"2\r\nok\r\n3;a=b\r\n!!!\r\n0\r\nx: 1\r\n\r\n"]
CHUNKS += [
    b"5\nhello\n0\n\n",
    b"5\r\nhello0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"\r\n",
    b"-1\r\n",
]
CHUNKS += [b"5 \r\nhello\r\n0\r\n\r\n", b"F" * 17 + b"\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhel"]
CHUNKS += [b"0\r\nContent-Length: 9\r\n\r\n", b"5;" + b"a" * 400 + b"\r\nhello\r\n0\r\n\r\n"]
ENDS_OF_LINES = st.sampled_from([b"\r\n"] * 40 + [b"\n", b"\r", b"\r\r\n", b"\n\r"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    first = draw(st.one_of(st.just(OK), st.sampled_from(STATUS_LINES)))
    lines = [first, *draw(st.lists(FIELDS, max_size=3))]
    return b"".join(line + draw(ENDS_OF_LINES) for line in [*lines, b""])


ONES = st.builds(bytes.__add__, heads(), st.sampled_from(BODIES + CHUNKS))
WHOLE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n\r\n",
]
GOOD = st.sampled_from([*WHOLE, b"HTTP/1.1 200 OK\r\n\r\nuntil the end"])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good answer, or two, with some bytes changed, put in, taken out or said twice."""
    data = bytearray(b"".join(draw(st.lists(GOOD, min_size=1, max_size=2))))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 9)))
        part = draw(st.one_of(st.binary(max_size=4), FIELDS, st.just(bytes(data[start:stop]) * 2)))
        data[start:stop] = part
    return bytes(data)


# So that the most make sense up to some point: half of it all is good in its head at least.
BYTES = st.one_of(
    GOOD,
    st.builds(bytes.__add__, GOOD, st.binary(min_size=1, max_size=9)),
    mutated(),
    mutated(),
    ONES,
    ONES,
    st.builds(bytes.__add__, ONES, ONES),
    st.binary(max_size=200),
)


@dataclass(frozen=True)
class Sent:
    """What a server sends: in these pieces, and what it does then."""

    pieces: list[bytes]
    end: str

    @property
    def whole(self) -> bytes:
        return b"".join(self.pieces)


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    data = draw(BYTES)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return Sent(
        [piece for piece in pieces if piece],
        draw(st.sampled_from(["eof", "reset", "wait", "wait"])),
    )

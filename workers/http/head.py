"""The head of a response, read a second time in the rare case that a header field matters.

Most answers are a 2xx of known length, of which nobody asks more than the status. Leaving out the
call per field saves a tenth of what receiving such an answer costs.
"""

import contextlib

import httptools

_CODING = b"transfer-encoding"


class _Fields:
    """Collects the fields of the last head: interim responses come before the final one."""

    __slots__ = ("fields", "is_done")

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.is_done = False

    def on_message_begin(self) -> None:
        self.fields.clear()
        self.is_done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_done:  # fields may also follow the body
            return
        name = name.lower()
        if name == _CODING and name in self.fields:  # a list may come in several lines
            self.fields[name] += b"," + value
        else:
            self.fields.setdefault(name, value)

    def on_headers_complete(self) -> None:
        self.is_done = True


def _read_fields(received: bytes) -> dict[bytes, bytes]:
    collected = _Fields()
    # What comes after the head has had its judgement already.
    with contextlib.suppress(httptools.HttpParserError):
        httptools.HttpResponseParser(collected).feed_data(received)
    return collected.fields


def has_field(received: bytes, name: bytes) -> bool:
    """Whether the head that `received` begins with has a field of this name (in lower case)."""
    return name in _read_fields(received)


def retry_after(received: bytes) -> str | None:
    """The Retry-After field of the response that `received` begins with, as it was sent."""
    value = _read_fields(received).get(b"retry-after")
    return None if value is None else value.decode("latin-1")


def ends_with_connection(received: bytes) -> bool:
    """Whether the body of this response goes on until the connection is closed (RFC 9112, 6.3)."""
    fields = _read_fields(received)
    coding = fields.get(_CODING)
    if coding is not None:
        return coding.rpartition(b",")[2].strip().lower() != b"chunked"
    return b"content-length" not in fields


def head_size(received: bytes, interims: int) -> int:
    """Bytes up to the end of the final head, after `interims` interim responses."""
    end = 0
    for _ in range(interims + 1):
        found = received.find(b"\r\n\r\n", end)
        if found < 0:
            return len(received)
        end = found + 4
    return end

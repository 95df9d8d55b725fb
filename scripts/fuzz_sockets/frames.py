"""What clients send, from well-behaved to hostile, drawn by chance that a seed brings back."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgpack
from websockets.speedups import apply_mask

from app.tokens import make_token

SECRET: Final = "a secret for the fuzzing of sockets"
USERS: Final = ("ann", "bob", "eve", "zoe")
LONG_AGO, AGES_S = 1_600_000_000, 2_500_000_000  # the same tokens whenever it is run
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
JSON, MSGPACK = "moments.v1.json", "moments.v1.msgpack"

GOOD: Final = {user: make_token(SECRET, user, ttl_s=AGES_S, now_s=LONG_AGO) for user in USERS}
BAD: Final = (
    make_token(SECRET, "bob", ttl_s=1, now_s=LONG_AGO),
    make_token(SECRET[::-1] + SECRET, "bob", ttl_s=AGES_S, now_s=LONG_AGO),
    GOOD["bob"][:-5] + "AAAAA",
    *("", "x", "a.b.c", "mk_" + "x" * 43, "\ud800", "e" * 5_000),
)
HEADERS: Final = {
    "Host": "gateway",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
BAD_TEXTS: Final = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")
CODES: Final = (0, 999, 1000, 1001, 1004, 1005, 1006, 1015, 1016, 2999, 3000, 4000, 4999, 5000)


@dataclass(frozen=True, slots=True)
class Sent:
    """Some bytes, and how many frames they were meant to be."""

    data: bytes
    frames: int = 1


def pack(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes = b""
) -> bytes:
    """A frame of a client; the mask is zero unless one is given."""
    length = len(payload)
    first = fin << 7 | rsv << 4 | opcode
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((first, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + length.to_bytes(8, "big")
    return head + (mask + apply_mask(payload, mask) if mask else bytes(4) + payload)


class Sender:
    """What one client says. `given` are the users whose tokens it has sent."""

    def __init__(self, chance: random.Random, head: Callable[[str], int]) -> None:
        """`head`: the newest offset of a user."""
        self._chance = chance
        self._head = head
        self.user = chance.choice(USERS)
        self.is_calm = chance.random() < 0.6
        self.encoding = chance.choice((JSON, JSON, MSGPACK))
        self.given: set[str] = set()
        self.has_token = chance.random() < 0.6  # in its handshake
        calm: tuple[tuple[Callable[[], Sent], int], ...] = (
            (self._ack, 40),
            (self._control, 12),
            (self._token, 6),
            (self._ping, 3),
            (self._fragments, 12),
        )
        wild: tuple[tuple[Callable[[], Sent], int], ...] = (
            (self._mutant, 25),
            (self._any_frame, 12),
            (self._other_message, 6),
            (self._long, 4),
            (self._empty_fragments, 4),
            (self._flood, 1),
            (self._bad_text, 4),
            (self._close, 4),
            (self._noise, 4),
        )
        self._calm, self._calm_weights = zip(*calm, strict=True)
        self._wild, self._wild_weights = zip(*wild, strict=True)

    def handshake(self) -> bytes:
        chance, query, headers = self._chance, {}, dict(HEADERS)
        if self.has_token:
            self.given.add(self.user)
            if chance.random() < 0.7:
                query["token"] = GOOD[self.user]
            else:
                headers["Authorization"] = f"Bearer {GOOD[self.user]}"
        if chance.random() < 0.5:
            query["after"] = str(max(0, self._head(self.user) + chance.randint(-12, 3)))
        if chance.random() < 0.1:
            query["epoch"] = chance.choice(("fuzz", "another"))
        if chance.random() < 0.5:
            query["ack"] = "explicit"
        if self.encoding is MSGPACK or chance.random() < 0.5:
            headers["Sec-WebSocket-Protocol"] = self.encoding
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        made = f"GET /v1/socket?{urlencode(query)} HTTP/1.1\r\n{lines}\r\n".encode()
        return made if chance.random() < 0.97 else self._mutate(made)

    def first(self) -> Sent | None:
        """The token as a message, if it is still to come, and mostly is."""
        if self.has_token or self._chance.random() < 0.1:
            return None
        self.given.add(self.user)
        return self._message({"type": "token", "token": GOOD[self.user]})

    def next(self) -> Sent:
        chance = self._chance
        if chance.random() < (0.98 if self.is_calm else 0.6):
            return chance.choices(self._calm, self._calm_weights)[0]()
        return chance.choices(self._wild, self._wild_weights)[0]()

    # Well-behaved, or nearly.

    def _encode(self, message: Any) -> bytes:
        if self.encoding is MSGPACK:
            return msgpack.packb(message, unicode_errors="surrogatepass")
        return json.dumps(message).encode()

    @property
    def _opcode(self) -> int:
        return BINARY if self.encoding is MSGPACK else TEXT

    def _mask(self) -> bytes:
        return self._chance.randbytes(4) if self._chance.random() < 0.2 else b""

    def _message(self, message: Any) -> Sent:
        return Sent(pack(self._opcode, self._encode(message), mask=self._mask()))

    def _ack(self) -> Sent:
        offset = max(0, self._head(self.user) - int(self._chance.expovariate(0.3)))
        if self._chance.random() < 0.02:
            offset += self._chance.choice((1, 2, 1 << 40))
        return self._message({"type": "ack", "offset": offset})

    def _control(self) -> Sent:
        payload = self._chance.randbytes(self._chance.choice((0, 1, 4, 125)))
        return Sent(pack(self._chance.choice((PING, PONG)), payload, mask=self._mask()))

    def _token(self) -> Sent:
        if self._chance.random() < 0.85:
            self.given.add(self.user)
            return self._message({"type": "token", "token": GOOD[self.user]})
        other = self._chance.choice(USERS)
        self.given.add(other)
        return self._message({"type": "token", "token": self._chance.choice((*BAD, GOOD[other]))})

    def _ping(self) -> Sent:
        return self._message({"type": "ping"})

    def _fragments(self) -> Sent:
        """An ack in fragments, with pings in between."""
        payload = self._encode({"type": "ack", "offset": 0})
        parts = self._cut(payload, self._chance.randint(1, 5))
        frames = []
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            frames.append(pack(0 if number else self._opcode, part, fin=is_last))
            if not is_last and self._chance.random() < 0.3:
                frames.append(pack(PING, b"between"))
        return Sent(b"".join(frames), len(frames))

    def _cut(self, data: bytes, cuts: int) -> list[bytes]:
        places = sorted(self._chance.randint(0, len(data)) for _ in range(cuts))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]

    # Hostile.

    def _mutant(self) -> Sent:
        whole = self._chance.choices(self._calm, self._calm_weights)[0]()
        return Sent(self._mutate(whole.data), whole.frames)

    def _mutate(self, data: bytes) -> bytes:
        chance, made = self._chance, bytearray(data)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(made) + 1)
            match chance.randrange(6):
                case 0 | 1 if at < len(made):  # a bit is another
                    made[at] ^= 1 << chance.randrange(8)
                case 2 if at < len(made):  # a byte of those that mean something
                    made[at] = chance.choice((0, 0x7E, 0x7F, 0x80, 0xFE, 0xFF))
                case 3:
                    made[at:at] = chance.randbytes(chance.randint(1, 8))
                case 4:
                    del made[at : at + chance.randint(1, 8)]
                case _:  # once more
                    made[at:at] = made[: chance.randint(0, 40)]
        return bytes(made)

    def _any_frame(self) -> Sent:
        chance = self._chance
        payload = chance.randbytes(chance.choice((0, 1, 2, 125, 126, 300)))
        fin, rsv = chance.random() < 0.7, chance.choice((0, 0, 0, 1, 2, 4, 7))
        made = bytearray(pack(chance.randrange(16), payload, fin=fin, rsv=rsv))
        if chance.random() < 0.1:
            made[1] &= 0x7F  # not masked
        return Sent(bytes(made))

    def _other_message(self) -> Sent:
        message = self._value(3)
        if self._chance.random() < 0.5:
            message = {"type": self._chance.choice(("ack", "token", "hello", 1)), "offset": message}
        try:
            return self._message(message)
        except (TypeError, ValueError, OverflowError):  # what this encoding has no word for
            return Sent(pack(self._opcode, self._chance.randbytes(20)))

    def _value(self, depth: int) -> Any:
        chance = self._chance
        match chance.randrange(8 if depth else 6):
            case 0:
                return None
            case 1:
                return chance.random() < 0.5
            case 2:
                return chance.choice((0, -1, 1 << 31, 1 << 63, -(1 << 63), chance.getrandbits(40)))
            case 3:
                return chance.choice((0.5, 1e308, float("inf"), float("nan")))
            case 4:
                return "".join(chance.choices('aé€𝄞\0\x1b%\\"', k=chance.randint(0, 50)))
            case 5:
                return {}
            case 6:
                return [self._value(depth - 1) for _ in range(chance.randint(0, 3))]
            case _:
                return {str(n): self._value(depth - 1) for n in range(chance.randint(0, 3))}

    def _long(self) -> Sent:
        chance = self._chance
        length = chance.choice((65_535, 65_536, 65_537, 200_000, 1 << 31, 1 << 63, (1 << 64) - 1))
        head = bytes((0x80 | chance.choice((TEXT, BINARY)), 0xFF)) + length.to_bytes(8, "big")
        return Sent(head + bytes(4) + bytes(min(length, 70_000) if chance.random() < 0.3 else 0))

    def _empty_fragments(self) -> Sent:
        count = self._chance.choice((3, 10, 50))
        first = pack(self._opcode, b"", fin=False)
        return Sent(first + pack(0, b"", fin=False) * count, count + 1)

    def _flood(self) -> Sent:
        return Sent(pack(PING, b"") * 150, 150)

    def _bad_text(self) -> Sent:
        payload = b'{"type":"' + self._chance.choice(BAD_TEXTS) + b'"}'
        if self._chance.random() < 0.5:
            return Sent(pack(TEXT, payload))
        parts = self._cut(payload, 1)
        return Sent(pack(TEXT, parts[0], fin=False) + pack(0, parts[1]), 2)

    def _close(self) -> Sent:
        code = self._chance.choice((*CODES, self._chance.getrandbits(16))).to_bytes(2, "big")
        reason = self._chance.choice((b"", b"bye", *BAD_TEXTS, b"x" * 123, b"x" * 124))
        return Sent(pack(CLOSE, self._chance.choice((b"", code[:1], code, code + reason))))

    def _noise(self) -> Sent:
        return Sent(self._chance.randbytes(self._chance.choice((1, 2, 10, 100, 3_000))))

"""The ids this service gives out, and what can be read off them.

Alphabet: Crockford's base32 in lower case (no i, l, o, u). Ids hold no dot, because the text a
webhook signature covers is `id.timestamp.body`.

    post      18  10 digits of milliseconds, 6 random, 2 of the author's shard; sorts by time
    endpoint  10  8 random, 2 of its user's shard
    delivery      webhook: post-version-slice-endpoint
                  socket:  post-version-slice-shard-index   (index in the slice's roster)
    key       12  the beginning of its digest, in hexadecimal digits
"""

import re
from dataclasses import dataclass

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {digit: value for value, digit in enumerate(ALPHABET)}

POST_ID_LENGTH = 18
ENDPOINT_ID_LENGTH = 10
KEY_ID_LENGTH = 12
POST_RANDOM_BITS = 30
ENDPOINT_RANDOM_BITS = 40

_DIGIT = f"[{ALPHABET}]"
_NUMBER = "(0|[1-9][0-9]{0,8})"

POST_ID = re.compile(_DIGIT + f"{{{POST_ID_LENGTH}}}")
ENDPOINT_ID = re.compile(_DIGIT + f"{{{ENDPOINT_ID_LENGTH}}}")
_SLICE = f"({POST_ID.pattern})-{_NUMBER}-{_NUMBER}"
WEBHOOK_DELIVERY_ID = re.compile(f"{_SLICE}-({ENDPOINT_ID.pattern})")
_SOCKET = re.compile(f"{_SLICE}-{_NUMBER}-{_NUMBER}")
DELIVERY_ID = re.compile(f"{_SLICE}-({ENDPOINT_ID.pattern}|{_NUMBER}-{_NUMBER})")
USER_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
KEY_ID = re.compile(f"[0-9a-f]{{{KEY_ID_LENGTH}}}")


def _base32(value: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        text = ALPHABET[value & 31] + text
        value >>= 5
    return text


def post_id(at_ms: int, random: int, shard: int) -> str:
    """A post id from the time, `POST_RANDOM_BITS` random bits and the author's shard."""
    return _base32(at_ms, 10) + _base32(random, 6) + _base32(shard, 2)


def posted_at_ms(post_id: str) -> int:
    """When the post with this id was accepted."""
    at_ms = 0
    for digit in post_id[:10]:
        at_ms = at_ms << 5 | _VALUE[digit]
    return at_ms


def endpoint_id(random: int, shard: int) -> str:
    """An endpoint id from `ENDPOINT_RANDOM_BITS` random bits and its user's shard."""
    return _base32(random, 8) + _base32(shard, 2)


def shard_of_id(text: str) -> int:
    """The shard a post or endpoint id ends with."""
    return _VALUE[text[-2]] << 5 | _VALUE[text[-1]]


def is_post_id(text: str) -> bool:
    return POST_ID.fullmatch(text) is not None


def is_endpoint_id(text: str) -> bool:
    return ENDPOINT_ID.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    return USER_ID.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    return KEY_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A webhook delivery's coordinates in the ledger."""

    post: str
    version: int
    slice: int
    endpoint: str

    def __str__(self) -> str:
        return f"{self.post}-{self.version}-{self.slice}-{self.endpoint}"

    @property
    def shard(self) -> int:
        return shard_of_id(self.endpoint)


@dataclass(frozen=True, slots=True)
class SocketDelivery:
    """A socket delivery's coordinates in the ledger."""

    post: str
    version: int
    slice: int
    shard: int
    index: int

    def __str__(self) -> str:
        return f"{self.post}-{self.version}-{self.slice}-{self.shard}-{self.index}"


def parse_delivery_id(text: str) -> WebhookDelivery | SocketDelivery | None:
    """The coordinates a delivery id stands for; None when it is none of ours."""
    if match := WEBHOOK_DELIVERY_ID.fullmatch(text):
        return WebhookDelivery(match[1], int(match[2]), int(match[3]), match[4])
    if match := _SOCKET.fullmatch(text):
        post, version, slice_, shard, index = match.groups()
        return SocketDelivery(post, int(version), int(slice_), int(shard), int(index))
    return None

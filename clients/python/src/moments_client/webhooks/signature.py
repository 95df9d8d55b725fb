"""Signatures of webhooks, by the Standard Webhooks scheme: `v1` with a shared secret, through the
`standardwebhooks` package, and `v1a` with a public key.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from moments_client.errors import InvalidWebhook

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PUBLIC_KEY_PREFIX = "whpk_"
TOLERANCE_S = 300  # the scheme's own

_SIGNATURES_MAX = 16  # of one header that are looked at

# Whether one of the signatures is that of the text `id.timestamp.body`.
Matches = Callable[[Mapping[str, str], bytes], bool]


def matcher(secret: str) -> Matches:
    """For `whsec_…` or `whpk_…`. Raises ValueError for what is neither, ImportError that says what
    to install."""
    if secret.startswith(PUBLIC_KEY_PREFIX):
        return _ed25519(secret)
    return _hmac(secret)


def check(matchers: Sequence[Matches], headers: Mapping[str, str], body: bytes) -> None:
    """`headers` have their names in lower case. Raises `InvalidWebhook` that says what is wrong."""
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        raise InvalidWebhook(f"the header {missing[0]} is missing: this is no signed webhook", 400)
    _check_age(headers[TIMESTAMP], time.time())
    if not any(matches(headers, body) for matches in matchers):
        raise InvalidWebhook(
            f"no signature in {SIGNATURE} matches: it was made with another secret, or the body "
            "is not as it was sent"
        )


def _check_age(timestamp: str, now_s: float) -> None:
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise InvalidWebhook(f"{TIMESTAMP} is not Unix seconds", 400)
    age_s = now_s - int(timestamp)
    if age_s > TOLERANCE_S:
        raise InvalidWebhook(
            f"{TIMESTAMP} is {age_s:.0f} s old, more than {TOLERANCE_S}: this was sent again by "
            "somebody else, or this clock is wrong",
            400,
        )
    if age_s < -TOLERANCE_S:
        raise InvalidWebhook(f"{TIMESTAMP} is {-age_s:.0f} s ahead of this clock", 400)


def _hmac(secret: str) -> Matches:
    try:
        library = import_module("standardwebhooks")
    except ImportError:
        raise ImportError(
            "whsec_… needs a package more: pip install 'moments-client[webhooks]'"
        ) from None
    try:
        webhook = library.Webhook(secret)
    except Exception:  # its message may quote the secret
        raise ValueError("this secret is not whsec_ and base64") from None

    def matches(headers: Mapping[str, str], body: bytes) -> bool:
        try:
            webhook.verify(body, dict(headers), json_parse=False)
        except (library.WebhookVerificationError, ValueError):  # ValueError: unreadable base64
            return False
        return True

    return matches


def _ed25519(public_key: str) -> Matches:
    try:
        ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
        bad = import_module("cryptography.exceptions").InvalidSignature
    except ImportError:
        raise ImportError(
            "whpk_… needs a package more: pip install 'moments-client[ed25519]'"
        ) from None
    try:
        raw = b64decode(public_key.removeprefix(PUBLIC_KEY_PREFIX), validate=True)
        key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise ValueError("this public key is not whpk_ and 32 bytes in base64") from None

    def is_of_key(signature: str, text: bytes) -> bool:
        try:
            key.verify(b64decode(signature, validate=True), text)
        except (bad, ValueError):
            return False
        return True

    def matches(headers: Mapping[str, str], body: bytes) -> bool:
        text = f"{headers[ID]}.{headers[TIMESTAMP]}.".encode() + body
        parts = headers[SIGNATURE].split(" ")[:_SIGNATURES_MAX]
        return any(is_of_key(part[4:], text) for part in parts if part.startswith("v1a,"))

    return matches

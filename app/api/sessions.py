"""Sessions of a browser: what a cookie holds instead of the API key that it was opened with.

    cookie = base64url(sealed JSON): digest of the key, token against forged requests, end

The key itself is in no cookie. A session ends by itself, and with its key: the key's row is looked
up for every request, as it is for those that send the key. No process keeps sessions, so that any
of several may answer, and a restart ends none.
"""

import base64
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final

from app.clock import now_ms
from app.errors import SealingError
from app.sealing import Sealer

COOKIE: Final = "moments_session"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"  # over TLS: no other host of the domain can set it
CSRF_HEADER: Final = b"x-csrf-token"

_OWNER: Final = b"console session"  # what is sealed for one use opens for no other
_SIZE_MAX: Final = 1_024  # characters; a session has about 250
_CSRF_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Session:
    """`key` is the digest of the API key; `csrf` what a page of ours sends along, and no other
    site can know."""

    key: bytes
    csrf: str
    ends_at_ms: int

    def is_from_our_page(self, csrf: bytes | None) -> bool:
        return csrf is not None and hmac.compare_digest(csrf, self.csrf.encode())


class Sessions:
    """Opens sessions and finds them in cookies."""

    def __init__(
        self, sealer: Sealer, *, session_s: float, clock: Callable[[], int] = now_ms
    ) -> None:
        """`clock` is in milliseconds since 1970."""
        self._sealer = sealer
        self.session_s = session_s
        self._clock = clock

    def begin(self, key: bytes) -> str:
        """The value of a cookie for whoever has shown the key with this digest."""
        said = {
            "key": key.decode("ascii"),
            "csrf": secrets.token_urlsafe(_CSRF_BYTES),
            "ends": self._clock() + round(self.session_s * 1000),
        }
        sealed = self._sealer.seal(json.dumps(said).encode(), _OWNER)
        return base64.urlsafe_b64encode(sealed).decode("ascii")

    def find(self, cookies: bytes) -> Session | None:
        """The session in a Cookie header; None for none, a forged one, and one that has ended."""
        try:
            jar = SimpleCookie(cookies.decode("latin-1"))
        except CookieError:
            return None
        for name in (SECURE_COOKIE, COOKIE):
            if name in jar and (session := self._open(jar[name].value)) is not None:
                return session
        return None

    def left_s(self, session: Session) -> float:
        """How long it still holds by itself; 0 and less when it has ended."""
        return (session.ends_at_ms - self._clock()) / 1000

    def _open(self, value: str) -> Session | None:
        if len(value) > _SIZE_MAX:
            return None
        try:
            sealed = base64.b64decode(value, altchars=b"-_", validate=True)
            said = json.loads(self._sealer.open(sealed, _OWNER))
        except (ValueError, SealingError):
            return None
        if said["ends"] <= self._clock():
            return None
        return Session(said["key"].encode("ascii"), said["csrf"], said["ends"])

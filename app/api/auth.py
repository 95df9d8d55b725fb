"""Who calls, and whether they may."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from starlette.types import Scope as HttpScope

from app.api.deadline import within
from app.api.problems import FORBIDDEN, UNAUTHENTICATED, Problem
from app.api.rates import Rates, Told
from app.api.sessions import CSRF_HEADER, Session, Sessions
from app.domain.address import Network
from app.domain.bucket import Rate
from app.domain.client import client_of
from app.domain.credential import is_api_key
from app.errors import BadToken, ExpiredToken
from app.store.apikeys import ApiKey, ApiKeys, Scope
from app.tokens import TokenVerifier

CREDENTIAL_SIZE_MAX = 4_096
GUESS_S: Final = 1.0  # that a guess waits where many were wrong

_NEITHER: Final = "This is neither an API key, which begins with mk_, nor a user token, a JWT."


class Access(Enum):
    """What a call asks for. The table below says what that means."""

    PUBLIC = "public"
    READ = "read"
    PUBLISH = "publish"
    ADMIN = "admin"
    OWN_FEED = "own feed"
    OWN_CURSOR = "own cursor"


#                   scopes of a key that open the call          a user's token opens their own
_KEYS = {
    Access.READ: frozenset({Scope.ADMIN, Scope.READ}),
    Access.PUBLISH: frozenset({Scope.ADMIN, Scope.PUBLISH}),
    Access.ADMIN: frozenset({Scope.ADMIN}),
    Access.OWN_FEED: frozenset({Scope.ADMIN, Scope.READ}),
    Access.OWN_CURSOR: frozenset({Scope.ADMIN}),
}
_OWNERS = frozenset({Access.OWN_FEED, Access.OWN_CURSOR})


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with an API key (its id, its scopes, whether endpoints it makes have to echo a
    challenge), or a user with their token."""

    key: str | None = None
    scopes: frozenset[Scope] = frozenset()
    user: str | None = None
    rate: Rate | None = None  # that the key was made with
    verify_endpoints: bool = False

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    def may(self, access: Access, path: Mapping[str, str]) -> bool:
        """Whether this caller may make a call; `path` has the user whose feed it is about."""
        if self.user is not None:
            return access in _OWNERS and path.get("user") == self.user
        return not self.scopes.isdisjoint(_KEYS[access])


NOBODY = Caller()
_OF_SESSION = frozenset({b"cookie", CSRF_HEADER})


class Doorkeeper:
    """Finds out who calls, and how often: from the Authorization header, or from the session of a
    browser when there is none."""

    def __init__(
        self,
        api_keys: ApiKeys,
        tokens: TokenVerifier,
        rates: Rates,
        sessions: Sessions | None = None,
        *,
        answer_timeout_s: float,
        proxies: Collection[Network] = (),
    ) -> None:
        self._api_keys = api_keys
        self._tokens = tokens
        self._rates = rates
        self._sessions = sessions
        self._answer_timeout_s = answer_timeout_s
        self._proxies = proxies

    async def identify(
        self, access: Access, authorization: bytes | None, request: HttpScope
    ) -> Caller:
        """Whoever sends a request, `NOBODY` for a call that is open to all. Else a 401 `Problem`,
        or 429 for one of too many."""
        if access is Access.PUBLIC:
            return NOBODY
        if authorization is None:
            caller = await self._of_session(request)
            if caller is not None:
                return caller
            raise _unauthenticated("Send `Authorization: Bearer <key or token>`.", None)
        scheme, _, credential = authorization.decode("latin-1").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not 0 < len(credential) <= CREDENTIAL_SIZE_MAX:
            raise _unauthenticated("Send `Authorization: Bearer <key or token>`.", None)
        if is_api_key(credential):
            return await self.find_key(credential, request)
        return self._verify_token(credential, request)

    def count(self, caller: Caller) -> Told:
        """Counts a request. What its answer has to tell of the caller's rate; else a 429
        `Problem`."""
        if caller.user is not None:
            return self._rates.spend_of_user(caller.user)
        if caller.key is not None:
            own, is_admin = caller.rate, caller.is_admin
            return self._rates.spend_of_key(caller.key, own, is_admin=is_admin)
        return {}

    def check(self, access: Access, caller: Caller, path: Mapping[str, str]) -> None:
        """A 403 `Problem` for who may not make this call."""
        if access is not Access.PUBLIC and not caller.may(access, path):
            raise _forbidden(access, caller)

    async def find_key(self, secret: str, request: HttpScope) -> Caller:
        """Whose key this is. Else a 401 `Problem`, or 429 after too many of them."""
        if self._rates.knows_failures and not self._api_keys.has_found(secret):
            await self._hold_up(request)
        key = await within(self._answer_timeout_s, self._api_keys.find(secret))
        if key is None:
            self._rates.spend_of_failure(self._address(request))
            raise _unauthenticated("This key is not one of ours, or it was revoked.")
        return _caller(key)

    async def _of_session(self, request: HttpScope) -> Caller | None:
        """None without a session, and for one whose key is gone. A 403 `Problem` when a page of
        another site may have sent the request."""
        if self._sessions is None:
            return None
        headers = {name: value for name, value in request["headers"] if name in _OF_SESSION}
        session = self._sessions.find(headers.get(b"cookie", b""))
        if session is None:
            return None
        if not session.is_from_our_page(headers.get(CSRF_HEADER)):
            raise Problem(FORBIDDEN, "A session needs the X-CSRF-Token of its page with it.")
        return await self.caller_of(session)

    async def caller_of(self, session: Session) -> Caller | None:
        """Whose session this is; None when the key it was opened with is gone."""
        key = await within(self._answer_timeout_s, self._api_keys.find_by(session.key))
        return None if key is None else _caller(key)

    async def _hold_up(self, request: HttpScope) -> None:
        """A guess of one who guesses a lot. Whether it is right must not be told any sooner: one
        who gets no answer at once would know that it is not."""
        if self._rates.is_guessing(self._address(request)):
            await asyncio.sleep(GUESS_S)

    def _verify_token(self, token: str, request: HttpScope) -> Caller:
        try:
            return Caller(user=self._tokens.verify(token).user)
        except ExpiredToken as error:  # no guess: its client has to hear that it needs another
            raise _rejected(error) from None
        except BadToken as error:
            self._rates.spend_of_failure(self._address(request))
            if "." not in token:  # no JWT either: a key whose prefix was lost, perhaps
                raise _unauthenticated(_NEITHER) from None
            raise _rejected(error) from None

    def _address(self, request: HttpScope) -> str:
        peer = request["client"]
        forwarded = [
            value.decode("latin-1")
            for name, value in request["headers"]
            if name == b"x-forwarded-for"
        ]
        return client_of(None if peer is None else peer[0], forwarded, self._proxies)


def _caller(key: ApiKey) -> Caller:
    rate = None if key.rate_per_s is None else Rate.of(key.rate_per_s)
    return Caller(key.id, key.scopes, rate=rate, verify_endpoints=key.verify_endpoints)


def _rejected(error: BadToken) -> Problem:
    return _unauthenticated(f"The token was rejected: {error}.")


def _unauthenticated(detail: str, error: str | None = "invalid_token") -> Problem:
    """RFC 6750, 3.1: a request without any credentials gets no error code."""
    challenge = 'Bearer realm="moments"' + (f', error="{error}"' if error else "")
    return Problem(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": challenge})


def _forbidden(access: Access, caller: Caller) -> Problem:
    if caller.user is not None:
        return Problem(FORBIDDEN, "A user token opens that user's own feed and cursor only.")
    wanted = " or ".join(sorted(_KEYS[access]))
    challenge = f'Bearer realm="moments", error="insufficient_scope", scope="{wanted}"'
    detail = f"This key lacks the scope: {wanted}."
    return Problem(FORBIDDEN, detail, headers={"WWW-Authenticate": challenge})

"""Who calls, and whether they may."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from app.api.problems import FORBIDDEN, UNAUTHENTICATED, Problem
from app.domain.credential import is_api_key
from app.errors import BadToken
from app.store.apikeys import ApiKeys, Scope
from app.tokens import TokenVerifier

CREDENTIAL_SIZE_MAX = 4_096


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


class Doorkeeper:
    """Finds out who calls from the Authorization header."""

    def __init__(self, api_keys: ApiKeys, tokens: TokenVerifier) -> None:
        self._api_keys = api_keys
        self._tokens = tokens

    async def admit(
        self, access: Access, authorization: bytes | None, path: Mapping[str, str]
    ) -> Caller:
        """The caller, if they may make this call. Else a 401 or 403 `Problem`."""
        if access is Access.PUBLIC:
            return NOBODY
        caller = await self._identify(authorization)
        if not caller.may(access, path):
            raise _forbidden(access, caller)
        return caller

    async def _identify(self, authorization: bytes | None) -> Caller:
        if authorization is None:
            raise _unauthenticated("Send `Authorization: Bearer <key or token>`.", None)
        scheme, _, credential = authorization.decode("latin-1").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not 0 < len(credential) <= CREDENTIAL_SIZE_MAX:
            raise _unauthenticated("Send `Authorization: Bearer <key or token>`.", None)
        if is_api_key(credential):
            return await self._find_key(credential)
        return self._verify_token(credential)

    async def _find_key(self, secret: str) -> Caller:
        key = await self._api_keys.find(secret)
        if key is None:
            raise _unauthenticated("This key is not one of ours, or it was revoked.")
        return Caller(key.id, key.scopes, verify_endpoints=key.verify_endpoints)

    def _verify_token(self, token: str) -> Caller:
        try:
            return Caller(user=self._tokens.verify(token).user)
        except BadToken as error:
            raise _unauthenticated(f"The token was rejected: {error}.") from None


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

"""User tokens: JWTs that open one user's feed and sockets, made here or by the host application.

A token's algorithm is the one its key is for, whatever its header says: HS256 for a shared secret,
EdDSA for an Ed25519 public key, RS256 for an RSA one. RFC 8725, 3.1 says why.

Several keys may hold at once, so that one can take another's place while tokens of both are about:

    the token's `kid`             is checked with
    one of the named keys         that key alone
    missing                       every key of its algorithm
    another                       every key of its algorithm that has no name
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.domain.ids import is_user_id
from app.errors import BadToken, BadTokenKey, TokenExpired
from app.settings import Settings

LEEWAY_S: Final = 30  # clocks differ: a token holds this much longer than it says
TOKEN_CHARS_MAX: Final = 4_096
RSA_BITS_MIN: Final = 2_048
EXPIRES_AT_MAX: Final = 253_402_300_799  # the last second of the year 9999

_PEM: Final = "-----BEGIN "

PublicKey = Ed25519PublicKey | RSAPublicKey


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, and until when in Unix seconds (`LEEWAY_S` not added)."""

    user: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Key:
    algorithm: str
    material: str | PublicKey


class TokenVerifier:
    """Checks tokens against a shared secret, a public key (PEM), and more of both by name."""

    def __init__(
        self,
        secret: str | None = None,
        public_key: str | None = None,
        named: Mapping[str, str] | None = None,
    ) -> None:
        """`named`: secret or PEM by `kid`. Raises `BadTokenKey` when one cannot be used."""
        self._unnamed: list[_Key] = []
        if secret is not None:
            self._unnamed.append(_shared(secret, "token_secret"))
        if public_key is not None:
            self._unnamed.append(_public(public_key, "token_public_key"))
        self._named = {kid: _named(kid, text) for kid, text in (named or {}).items()}
        self._all = (*self._unnamed, *self._named.values())
        self._algorithms = ", ".join(dict.fromkeys(key.algorithm for key in self._all))

    @classmethod
    def of(cls, settings: Settings) -> "TokenVerifier":
        """Raises `BadTokenKey`."""
        return cls(settings.token_secret, settings.token_public_key, settings.token_keys)

    def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `BadToken`, whose message says what is wrong.

        `sub` must be a user id and `exp` must be there; `nbf` and `iat` are checked when they are,
        all of them with `LEEWAY_S`. A token with `aud` is meant for somebody else.
        """
        if len(token) > TOKEN_CHARS_MAX:
            raise BadToken(f"longer than {TOKEN_CHARS_MAX} characters")
        try:
            return _claims(_decode(token, self._keys_for(jwt.get_unverified_header(token))))
        except jwt.ExpiredSignatureError:
            raise TokenExpired("expired") from None
        except jwt.PyJWTError as error:
            raise BadToken(_reason(error)) from None
        except UnicodeEncodeError:
            raise BadToken("holds something that is no character") from None

    def _keys_for(self, header: Mapping[str, Any]) -> list[_Key]:
        """The keys of which one has to have signed a token with this header, at least one."""
        kid = header.get("kid")
        named = self._named.get(kid) if kid is not None else None
        keys = [named] if named else self._all if kid is None else self._unnamed
        if not keys and self._named:
            raise BadToken("its `kid` is that of none of our keys")
        matching = [key for key in keys if key.algorithm == header.get("alg")]
        if not matching:
            raise BadToken(f"signed with none of {self._algorithms or 'no key set up'}")
        return matching


def has_token_keys(settings: Settings) -> bool:
    """Whether any token could be checked."""
    return bool(settings.token_secret or settings.token_public_key or settings.token_keys)


def _decode(token: str, keys: Sequence[_Key]) -> Mapping[str, Any]:
    """The claims, if one of the keys has signed them. Raises PyJWTError."""
    *others, last = keys
    for key in others:
        # Claims are looked at once the signature holds: then no other key is asked.
        with suppress(jwt.InvalidSignatureError):
            return _decode_with(token, key)
    return _decode_with(token, last)


def _decode_with(token: str, key: _Key) -> Mapping[str, Any]:
    options: Any = {"require": ["exp", "sub"]}
    return jwt.decode(token, key.material, [key.algorithm], options=options, leeway=LEEWAY_S)


def make_token(secret: str, user: str, *, ttl_s: int, now_s: float | None = None) -> str:
    """A token for a user, signed with the shared secret. It ends `ttl_s` from now."""
    issued_at = int(time.time() if now_s is None else now_s)
    claims = {"sub": user, "iat": issued_at, "exp": issued_at + ttl_s}
    return jwt.encode(claims, secret, algorithm="HS256")


def _claims(claims: Mapping[str, Any]) -> Claims:
    user = claims["sub"]
    if not is_user_id(user):
        raise BadToken("`sub` is not a user id")
    expires_at = int(claims["exp"])
    if expires_at > EXPIRES_AT_MAX:  # Whoever reckons with it gets a number that a float can hold.
        raise BadToken("`exp` is beyond the year 9999")
    return Claims(user, expires_at)


def _reason(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.InvalidSignatureError():
            return "the signature is not ours"
        case jwt.MissingRequiredClaimError():
            return f"`{error.claim}` is missing"
        case _:
            # Their texts name the claim or the part that is wrong, and quote nothing of the token.
            return str(error).lower()


def _named(kid: str, text: str) -> _Key:
    try:
        return (_public if _PEM in text else _shared)(text, "token_keys")
    except BadTokenKey as error:
        raise BadTokenKey(error.setting, f"{kid}: {error}") from error


def _shared(secret: str, setting: str) -> _Key:
    if _PEM in secret:  # a public key is known to everybody (RFC 8725, 2.1)
        raise BadTokenKey(setting, "this is a PEM key, and no secret to share")
    return _Key("HS256", secret)


def _public(pem: str, setting: str) -> _Key:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadTokenKey(setting, "this is not a PEM public key") from error
    if isinstance(key, Ed25519PublicKey):
        return _Key("EdDSA", key)
    if not isinstance(key, RSAPublicKey):
        raise BadTokenKey(setting, "this public key is neither Ed25519 nor RSA")
    if key.key_size < RSA_BITS_MIN:
        raise BadTokenKey(setting, f"this RSA key has fewer than {RSA_BITS_MIN} bits")
    return _Key("RS256", key)

"""User tokens: JWTs that open one user's feed and sockets, made here or by the host application.

A token's algorithm is the one its key is for, whatever its header says: HS256 for the shared
secret, EdDSA for an Ed25519 public key, RS256 for an RSA one. RFC 8725, 3.1 says why.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.domain.ids import is_user_id
from app.errors import BadToken, BadTokenKey

LEEWAY_S: Final = 30  # clocks differ: a token holds this much longer than it says
TOKEN_CHARS_MAX: Final = 4_096
RSA_BITS_MIN: Final = 2_048
EXPIRES_AT_MAX: Final = 253_402_300_799  # the last second of the year 9999

PublicKey = Ed25519PublicKey | RSAPublicKey


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, and until when in Unix seconds (`LEEWAY_S` not added)."""

    user: str
    expires_at: int


class TokenVerifier:
    """Checks tokens against the shared secret, a public key (PEM), or either when both are set."""

    def __init__(self, secret: str | None = None, public_key: str | None = None) -> None:
        """Raises `BadTokenKey` when the public key cannot be used."""
        self._keys: dict[str, str | PublicKey] = {}
        if secret is not None:
            self._keys["HS256"] = secret
        if public_key is not None:
            key = _load(public_key)
            self._keys["EdDSA" if isinstance(key, Ed25519PublicKey) else "RS256"] = key

    def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `BadToken`, whose message says what is wrong.

        `sub` must be a user id and `exp` must be there; `nbf` and `iat` are checked when they are,
        all of them with `LEEWAY_S`. A token with `aud` is meant for somebody else.
        """
        if len(token) > TOKEN_CHARS_MAX:
            raise BadToken(f"longer than {TOKEN_CHARS_MAX} characters")
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            key = self._keys.get(algorithm) if isinstance(algorithm, str) else None
            if key is None:
                raise BadToken(f"signed with none of {', '.join(self._keys) or 'no key set up'}")
            options: Any = {"require": ["exp", "sub"]}
            claims = jwt.decode(token, key, [str(algorithm)], options=options, leeway=LEEWAY_S)
        except jwt.PyJWTError as error:
            raise BadToken(_reason(error)) from None
        except UnicodeEncodeError:
            raise BadToken("holds something that is no character") from None
        return _claims(claims)


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
        case jwt.ExpiredSignatureError():
            return "expired"
        case jwt.InvalidSignatureError():
            return "the signature is not ours"
        case jwt.MissingRequiredClaimError():
            return f"`{error.claim}` is missing"
        case _:
            # Their texts name the claim or the part that is wrong, and quote nothing of the token.
            return str(error).lower()


def _load(pem: str) -> PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadTokenKey("the public key for tokens is not a PEM public key") from error
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise BadTokenKey(f"the RSA key for tokens has fewer than {RSA_BITS_MIN} bits")
    if not isinstance(key, Ed25519PublicKey | RSAPublicKey):
        raise BadTokenKey("the public key for tokens is neither Ed25519 nor RSA")
    return key

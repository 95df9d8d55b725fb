"""Tokens of every kind, good and bad, and what checks them."""

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.tokens import LEEWAY_S, TokenVerifier

SECRET = "a secret for tokens, long enough for HS256"
STRANGER = "the secret of somebody else, as long as ours"
ED, STRANGE_ED = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RSA = generate_private_key(public_exponent=65537, key_size=2048)


def pem(private_key: Any) -> str:
    public = private_key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


VERIFIER = TokenVerifier(SECRET, named={"ed": pem(ED), "rsa": pem(RSA)})


def _token(user: str, key: Any, algorithm: str = "HS256", **changes: Any) -> str:
    """A token that holds for a minute; `kid` goes into its header, None leaves a claim out."""
    kid = changes.pop("kid", None)
    claims = {"sub": user, "exp": int(time.time()) + 60, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


def _signed_with_the_public_key(user: str) -> str:
    """The attack of RFC 8725, 2.1, for which our library has to be helped."""
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"ed"}').decode()
    text = f"{head}.{_token(user, SECRET).split('.')[1]}"
    signature = jwt.get_algorithm_by_name("HS256").sign(text.encode(), pem(ED).encode())
    return f"{text}.{jwt.utils.base64url_encode(signature).decode()}"


def good_tokens(user: str) -> dict[str, str]:
    now = int(time.time())
    return {
        "HS256": _token(user, SECRET),
        "EdDSA": _token(user, ED, "EdDSA", kid="ed"),
        "RS256": _token(user, RSA, "RS256", kid="rsa"),
        "EdDSA without kid": _token(user, ED, "EdDSA"),
        "just ended": _token(user, SECRET, exp=now - LEEWAY_S + 15),
        "about to begin": _token(user, SECRET, nbf=now + LEEWAY_S - 15),
    }


def bad_tokens(user: str) -> dict[str, str]:
    now = int(time.time())
    whole = _token(user, SECRET)
    return {
        "no token": "garbage",
        "another secret": _token(user, STRANGER),
        "another EdDSA key": _token(user, STRANGE_ED, "EdDSA", kid="ed"),
        "another key's kid": _token(user, RSA, "RS256", kid="ed"),
        "an unknown kid": _token(user, ED, "EdDSA", kid="unknown"),
        "alg none": _token(user, None, "none"),
        "alg none with a signature": _token(user, None, "none") + whole.rpartition(".")[2],
        "no signature": whole.rpartition(".")[0] + ".",
        "HMAC with the public key": _signed_with_the_public_key(user),
        "another HMAC": _token(user, SECRET + SECRET, "HS512"),
        "expired": _token(user, SECRET, exp=now - LEEWAY_S - 15),
        "not yet": _token(user, SECRET, nbf=now + LEEWAY_S + 15),
        "without exp": _token(user, SECRET, exp=None),
        "without sub": _token(user, SECRET, sub=None),
        "for somebody else's service": _token(user, SECRET, aud="another"),
    }

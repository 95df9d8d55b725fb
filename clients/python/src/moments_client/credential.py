"""The token of a socket: when it ends, and when to ask for another."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

TokenSource = str | Callable[[], str | Awaitable[str]]

_RENEWED_AFTER = 0.8  # of its life
_SOONEST_S = 1.0  # so that a token of a few seconds is not renewed all the time


@dataclass(frozen=True, slots=True)
class Credential:
    """`renew_in_s` seconds from when it was read, another is to be asked for; None: never."""

    token: str
    renew_in_s: float | None


async def ask(source: TokenSource, within_s: float) -> str:
    """Raises what the source raises, and TimeoutError when it gives nothing in time."""
    given = source() if callable(source) else source
    if isinstance(given, str):
        return given
    waiting = asyncio.timeout(within_s)
    try:
        async with waiting:
            return await given
    except TimeoutError as error:
        if not waiting.expired():
            raise
        raise TimeoutError(f"the source of tokens gave none within {within_s:g} s") from error


def read_credential(token: str, now_s: float) -> Credential:
    """`now_s` is the time of day, in Unix seconds."""
    ends_at_s = expires_at_s(token)
    if ends_at_s is None:
        return Credential(token, None)
    return Credential(token, max(_SOONEST_S, (ends_at_s - now_s) * _RENEWED_AFTER))


def expires_at_s(token: str) -> float | None:
    """The `exp` of a JWT, in Unix seconds. It is not checked: that is the gateway's to do."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None

"""API keys: kept as SHA-256 of a high-entropy secret, so that the store holds nothing to steal."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.credential import API_KEY_PREFIX
from app.domain.ids import KEY_ID_LENGTH
from app.errors import TooManyApiKeys
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs


class Scope(StrEnum):
    ADMIN = "admin"
    PUBLISH = "publish"
    READ = "read"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`id` is the first digits of the secret's digest; `hint` the secret's first characters.

    One `of_settings` goes with the next start that does not have it any more. `rate_per_s` is the
    key's own; None leaves it to the settings. Endpoints made with one that is to `verify_endpoints`
    echo a challenge first.
    """

    id: str
    hint: str
    name: str
    scopes: frozenset[Scope]
    created_at_ms: int
    of_settings: bool = False
    rate_per_s: float | None = None
    verify_endpoints: bool = False


class ApiKeys:
    """All API keys. One that was found is remembered for `cache_s`: so late a revocation holds."""

    def __init__(
        self,
        store: Store,
        *,
        api_keys_max: int,
        cache_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._api_keys_max = api_keys_max
        self._cache_s = cache_s
        self._clock = clock
        self._found: dict[bytes, tuple[float, ApiKey]] = {}

    async def create(
        self,
        name: str,
        scopes: frozenset[Scope],
        now_ms: int,
        *,
        rate_per_s: float | None = None,
        verify_endpoints: bool = False,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is not kept. Raises `TooManyApiKeys`."""
        secret = API_KEY_PREFIX + secrets.token_urlsafe(32)
        digest, row = digest_of(secret), _row(secret, name, scopes, now_ms)
        if rate_per_s is not None:
            row["rate"] = rate_per_s
        if verify_endpoints:
            row["verify"] = True
        saved = await self._store.call(
            "save_api_key", [keys.API_KEYS], [digest, json.dumps(row), self._api_keys_max]
        )
        if not saved:
            raise TooManyApiKeys(f"there are {self._api_keys_max} API keys already")
        return _shown(digest, row), secret

    async def set_bootstrap(self, secret: str | None, now_ms: int) -> ApiKey | None:
        """Makes a given secret an admin key, however many there are: that of the settings.

        Revokes the one that was it before; with None just that. None too when this one was revoked
        by call: it stays so until another was set.
        """
        digest = b"" if secret is None else digest_of(secret)
        row = _row(secret or "", "admin", frozenset({Scope.ADMIN}), now_ms) | {"settings": True}
        raw = await self._store.call(
            "set_bootstrap_key", [keys.API_KEYS], [digest, json.dumps(row)]
        )
        self.forget()
        return None if raw is None else _key(digest, json.loads(raw))

    async def is_revoked(self, secret: str) -> bool:
        """Whether this key of the settings was revoked by call."""
        raw = await self._store.execute("HGET", keys.API_KEYS, digest_of(secret))
        return raw is not None and _key(b"", json.loads(raw)) is None

    async def find(self, secret: str) -> ApiKey | None:
        return await self.find_by(digest_of(secret))

    async def find_by(self, digest: bytes) -> ApiKey | None:
        """The key whose secret has this digest."""
        now = self._clock()
        # The comparison of digests by a dictionary tells nothing about the secret.
        known = self._found.get(digest)
        if known is not None and now - known[0] <= self._cache_s:
            return known[1]
        key = await self._read(digest)
        if key is None:
            self._found.pop(digest, None)
            return None
        if len(self._found) >= 1_024:
            self._found.clear()
        self._found[digest] = (now, key)
        return key

    def has_found(self, secret: str) -> bool:
        """Whether this is a key that was there lately. It may be revoked since."""
        return digest_of(secret) in self._found

    async def _read(self, digest: bytes) -> ApiKey | None:
        raw = await self._store.execute("HGET", keys.API_KEYS, digest)
        return None if raw is None else _key(digest, json.loads(raw))

    def forget(self) -> None:
        """What was found may be gone."""
        self._found.clear()

    async def all(self) -> list[ApiKey]:
        """In the order of their making."""
        rows = await self._rows()
        found = [_key(digest, json.loads(raw)) for digest, raw in rows.items()]
        return sorted(filter(None, found), key=lambda key: (key.created_at_ms, key.id))

    async def revoke(self, id_: str) -> bool:
        """True when there was such a key. Other processes notice within the cache's life."""
        for digest in await self._rows():
            if hmac.compare_digest(digest[:KEY_ID_LENGTH], id_.encode("utf-8", "replace")):
                self._found.pop(digest, None)
                return await self._store.call("revoke_api_key", [keys.API_KEYS], [digest]) == 1
        return False

    async def _rows(self) -> dict[bytes, bytes]:
        return dict(pairs(await self._store.execute("HGETALL", keys.API_KEYS)))


def digest_of(secret: str) -> bytes:
    """What stands for a secret in the store."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest().encode()


def _row(secret: str, name: str, scopes: frozenset[Scope], now_ms: int) -> dict[str, Any]:
    hint = secret[: len(API_KEY_PREFIX) + 5]
    return {"hint": hint, "name": name, "scopes": sorted(scopes), "at": now_ms}


def _key(digest: bytes, row: dict[str, Any]) -> ApiKey | None:
    """None for what is left of the settings' key when it was revoked by call."""
    return None if row.get("revoked") else _shown(digest, row)


def _shown(digest: bytes, row: dict[str, Any]) -> ApiKey:
    return ApiKey(
        digest[:KEY_ID_LENGTH].decode(),
        row["hint"],
        row["name"],
        frozenset(Scope(scope) for scope in row["scopes"]),
        row["at"],
        row.get("settings", False),
        row.get("rate"),
        row.get("verify", False),
    )

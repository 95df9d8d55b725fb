"""Endpoints: the webhook addresses of users, their options, secrets and health."""

import asyncio
import json
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.ids import ENDPOINT_RANDOM_BITS, endpoint_id, is_endpoint_id, shard_of_id
from app.domain.shard import shard_of
from app.errors import NoSender, TooManyEndpoints
from app.sealing import Sealer
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs
from app.wire import AttemptEntry, decode_attempt

Method = Literal["POST", "GET", "rest"]
EndpointState = Literal["active", "open", "disabled"]

ALL_TYPES = ("*",)
SECRETS_MAX = 10  # live secrets of one endpoint: every one of them signs every request
# What a caller may change; everything else in the hash belongs to the sender.
CHANGEABLE = frozenset(
    {"url", "types", "method", "headers", "rate_per_s", "retry_schedule_s", "description"}
)


@dataclass(frozen=True, slots=True)
class Secret:
    """`expires_at_ms` is set once a newer secret has taken its place."""

    value: str
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook address with its options and health. `secrets` has the newest first."""

    id: str
    user: str
    url: str
    types: tuple[str, ...]
    method: Method
    headers: Mapping[str, str]
    rate_per_s: float | None
    retry_schedule_s: tuple[float, ...] | None
    description: str | None
    secrets: tuple[Secret, ...]
    state: EndpointState
    disabled_reason: str | None
    created_at_ms: int
    last_success_at_ms: int | None
    consecutive_failures: int
    first_failure_at_ms: int | None
    failure_days: tuple[str, ...]
    open_until_ms: int | None

    @property
    def shard(self) -> int:
        return shard_of_id(self.id)

    def live_secrets(self, now_ms: int) -> tuple[str, ...]:
        """The newest first; those whose overlap is over are left out."""
        return tuple(
            secret.value
            for secret in self.secrets
            if secret.expires_at_ms is None or secret.expires_at_ms > now_ms
        )


class Endpoints:
    """The endpoints of all users. Every change is told to the sender that owns the shard."""

    def __init__(
        self,
        store: Store,
        shards: int,
        *,
        sealer: Sealer,
        endpoints_max: int,
        changes_max: int,
    ) -> None:
        self._store = store
        self._shards = shards
        self._sealer = sealer
        self._endpoints_max = endpoints_max
        self._changes_max = changes_max

    async def create(
        self,
        *,
        user: str,
        url: str,
        types: tuple[str, ...],
        method: Method,
        headers: Mapping[str, str],
        rate_per_s: float | None,
        retry_schedule_s: tuple[float, ...] | None,
        description: str | None,
        secret: str,
        now_ms: int,
    ) -> Endpoint:
        """Raises `TooManyEndpoints`."""
        shard = shard_of(user, self._shards)
        options: dict[str, Any] = {
            "url": url,
            "types": types,
            "method": method,
            "headers": headers,
            "rate_per_s": rate_per_s,
            "retry_schedule_s": retry_schedule_s,
            "description": description,
        }
        while True:
            id_ = endpoint_id(randomness.randbits(ENDPOINT_RANDOM_BITS), shard)
            fields = [
                *("user", user, "created_at", now_ms, "state", "active"),
                *("secrets", self._seal(id_, (Secret(secret),)), *_flat(options)),
            ]
            head = [id_, user, _route_word(id_, types), self._endpoints_max, self._changes_max]
            answer = await self._store.call("save_endpoint", self._keys(id_), [*head, *fields])
            if answer == b"full":
                raise TooManyEndpoints(f"{user} has {self._endpoints_max} endpoints already")
            if answer == b"ok":
                break
        created = await self.get(id_)
        assert created is not None  # only its own deletion could have taken it away since
        return created

    def _keys(self, id_: str) -> list[bytes]:
        shard = shard_of_id(id_)
        states = keys.endpoint_states(shard)
        return [keys.endpoint(shard, id_), keys.routes(shard), keys.changes(shard), states]

    def _is_ours(self, id_: str) -> bool:
        return is_endpoint_id(id_) and shard_of_id(id_) < self._shards

    async def get(self, id_: str) -> Endpoint | None:
        return (await self.get_many([id_])).get(id_)

    async def get_many(self, ids: list[str]) -> dict[str, Endpoint]:
        """Those of the endpoints that exist."""
        wanted = [id_ for id_ in ids if self._is_ours(id_)]
        commands = [("HGETALL", keys.endpoint(shard_of_id(id_), id_)) for id_ in wanted]
        rows = await self._store.run_many(commands)
        return {
            id_: self._endpoint(id_, {name.decode(): value for name, value in pairs(row)})
            for id_, row in zip(wanted, rows, strict=True)
            if row
        }

    async def of_user(self, user: str) -> list[Endpoint]:
        """In the order of their making."""
        route = await self._store.execute("HGET", keys.routes(shard_of(user, self._shards)), user)
        words = (route or b"").decode().split()
        ids = [word.partition("=")[0] for word in words if not word.startswith("@")]
        found = await self.get_many(ids)
        return [found[id_] for id_ in ids if id_ in found]

    async def change(self, id_: str, changes: Mapping[str, Any]) -> Endpoint | None:
        """Sets some of `CHANGEABLE`; None as a value takes an option away."""
        unknown = changes.keys() - CHANGEABLE
        if unknown:
            raise ValueError(f"not an option of an endpoint: {', '.join(sorted(unknown))}")
        endpoint = await self.get(id_)
        if endpoint is None:
            return None
        types: tuple[str, ...] | None = changes.get("types", endpoint.types)
        word = _route_word(id_, types or ALL_TYPES)
        return await self._write(endpoint, changes, word)

    async def _write(
        self, endpoint: Endpoint, changes: Mapping[str, Any], word: str = ""
    ) -> Endpoint | None:
        removed = [name for name, value in changes.items() if value is None]
        head = [endpoint.id, endpoint.user, word, self._changes_max, len(removed), *removed]
        changed = await self._store.call(
            "change_endpoint", self._keys(endpoint.id), [*head, *_flat(changes)]
        )
        return await self.get(endpoint.id) if changed else None

    async def delete(self, id_: str) -> bool:
        endpoint = await self.get(id_)
        if endpoint is None:
            return False
        named = [*self._keys(id_), keys.attempts(endpoint.shard, id_)]
        head = [id_, endpoint.user, self._changes_max]
        return await self._store.call("delete_endpoint", named, head) == 1

    async def rotate(self, id_: str, secret: str, overlap_s: float, now_ms: int) -> Endpoint | None:
        """A new secret; those before it sign too for `overlap_s` more."""
        endpoint = await self.get(id_)
        if endpoint is None:
            return None
        until = now_ms + round(overlap_s * 1000)
        kept = [
            Secret(old.value, min(old.expires_at_ms or until, until))
            for old in endpoint.secrets
            if old.expires_at_ms is None or old.expires_at_ms > now_ms
        ]
        live = (Secret(secret), *kept)[:SECRETS_MAX]
        return await self._write(endpoint, {"secrets": self._seal(id_, live)})

    async def enable(self, id_: str) -> Endpoint | None:
        """Active again, with a clean record."""
        endpoint = await self.get(id_)
        if endpoint is None:
            return None
        cleared = ("disabled_reason", "first_failure_at", "failure_days", "open_until")
        changes: dict[str, Any] = dict.fromkeys(cleared)
        return await self._write(
            endpoint, {**changes, "state": "active", "consecutive_failures": 0}
        )

    async def attempts(
        self, id_: str, after: int, limit: int
    ) -> tuple[list[AttemptEntry], int | None]:
        """The newest first, skipping `after`; and what to skip for the next page."""
        shard = shard_of_id(id_)
        found = await self._store.execute("LRANGE", keys.attempts(shard, id_), after, after + limit)
        entries = [decode_attempt(raw) for raw in found[:limit]]
        return entries, after + limit if len(found) > limit else None

    async def ping(self, id_: str, timeout_s: float) -> AttemptEntry:
        """Asks the sender that owns the endpoint to send a ping now. Raises `NoSender`."""
        shard = shard_of_id(id_)
        request = randomness.token_hex(8)
        reply_key = keys.reply(shard, request)
        fields = ["p", request, "e", id_]
        await self._store.execute(
            "XADD", keys.changes(shard), "MAXLEN", "~", self._changes_max, "*", *fields
        )
        reply = await _wait_for_reply(self._store, reply_key, timeout_s)
        if reply is None:
            raise NoSender("no sender answered: is a worker running?")
        return decode_attempt(reply)

    def _seal(self, id_: str, secrets: tuple[Secret, ...]) -> bytes:
        rows = [[secret.value, secret.expires_at_ms] for secret in secrets]
        return self._sealer.seal(json.dumps(rows).encode(), id_.encode())

    def _endpoint(self, id_: str, fields: dict[str, bytes]) -> Endpoint:
        opened = json.loads(self._sealer.open(fields["secrets"], id_.encode()))
        schedule = _json(fields.get("retry_schedule_s"))
        types = _json(fields.get("types"))
        return Endpoint(
            id=id_,
            user=fields["user"].decode(),
            url=_json(fields["url"]),
            types=tuple(types) if types else ALL_TYPES,
            method=_json(fields.get("method")) or "POST",
            headers=_json(fields.get("headers")) or {},
            rate_per_s=_json(fields.get("rate_per_s")),
            retry_schedule_s=tuple(schedule) if schedule is not None else None,
            description=_json(fields.get("description")),
            secrets=tuple(Secret(value, expires) for value, expires in opened),
            state=fields["state"].decode(),  # pyright: ignore[reportArgumentType]
            disabled_reason=_text(fields.get("disabled_reason")),
            created_at_ms=int(fields["created_at"]),
            last_success_at_ms=_int(fields.get("last_success_at")),
            consecutive_failures=_int(fields.get("consecutive_failures")) or 0,
            first_failure_at_ms=_int(fields.get("first_failure_at")),
            failure_days=tuple((_text(fields.get("failure_days")) or "").split()),
            open_until_ms=_int(fields.get("open_until")),
        )


async def _wait_for_reply(store: Store, key: bytes, timeout_s: float) -> bytes | None:
    """Polls, at growing intervals: a ping is rare, and a blocking read would hold a connection."""
    wait_s = 0.005
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        reply = await store.execute("LPOP", key)
        left = deadline - asyncio.get_running_loop().time()
        if reply is not None or left <= 0:
            return reply
        await asyncio.sleep(min(wait_s, left))
        wait_s = min(wait_s * 1.5, 0.25)


def _route_word(id_: str, types: tuple[str, ...]) -> str:
    """The endpoint's word in the route: its id alone when it wants everything."""
    return id_ if "*" in types else f"{id_}={','.join(types)}"


def _flat(options: Mapping[str, Any]) -> list[Any]:
    """Hash fields; options are kept as JSON, what others write as plain text."""
    flat: list[Any] = []
    for name, value in options.items():
        if value is not None:
            flat += [name, json.dumps(value) if name in CHANGEABLE else value]
    return flat


def _json(raw: bytes | None) -> Any:
    return None if raw is None else json.loads(raw)


def _text(raw: bytes | None) -> str | None:
    return raw.decode() if raw else None


def _int(raw: bytes | None) -> int | None:
    return int(raw) if raw else None

"""Endpoints: the webhook addresses of users, their options, secrets and health."""

import asyncio
import json
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.ids import ENDPOINT_RANDOM_BITS, endpoint_id, is_endpoint_id, shard_of_id
from app.domain.shard import shard_of
from app.domain.signature import Signing, signing_of
from app.errors import EndpointUnverified, NoSender, TooManyChallenges, TooManyEndpoints
from app.sealing import Sealer
from app.store import challenges, keys
from app.store.client import Store
from app.store.replies import pairs
from app.store.vault import HEADERS, Secret, Vault
from app.wire import AttemptEntry, decode_attempt

Method = Literal["POST", "GET", "rest"]
EndpointState = Literal["active", "open", "disabled", "unverified"]

ALL_TYPES = ("*",)
SECRETS_MAX = 10  # live secrets of one endpoint: every one of them signs every request
# What a caller may change; everything else in the hash belongs to the sender.
CHANGEABLE = frozenset(
    {"url", "types", "method", "headers", "rate_per_s", "retry_schedule_s", "description"}
)


@dataclass(frozen=True, slots=True)
class Verification:
    """Of an endpoint that has not echoed a challenge yet: how many it was sent, what was wrong with
    the last answer, and when the next is due (None: only when a call asks for it)."""

    challenges: int = 0
    last_error: str | None = None
    next_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook address with its options and health.

    `secrets` has the newest first. What was sealed by a key that is not ours is missing: `secrets`
    is empty then, `headers` None. `verification` is there as long as it is unverified.
    """

    id: str
    user: str
    url: str
    types: tuple[str, ...]
    method: Method
    headers: Mapping[str, str] | None
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
    signing: Signing = "hmac"
    verification: Verification | None = None

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
        self._vault = Vault(sealer)
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
        verify: bool = False,
    ) -> Endpoint:
        """How it signs follows from its secret, and stays so. With `verify` it is sent nothing but
        challenges until it has echoed one, and that stays so for other addresses it gets.

        Raises `TooManyEndpoints`.
        """
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
                *("user", user, "created_at", now_ms),
                *(("state", "unverified", "verify", 1) if verify else ("state", "active")),
                *("secrets", self._vault.seal_secrets(id_, (Secret(secret),))),
                *("signing", signing_of(secret), *self._flat(id_, options)),
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
        return [
            keys.endpoint(shard, id_),
            keys.routes(shard),
            keys.changes(shard),
            keys.endpoint_states(shard),
            keys.probes(shard),
        ]

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

    async def change(
        self, id_: str, changes: Mapping[str, Any], *, verify: bool = False
    ) -> Endpoint | None:
        """Sets some of `CHANGEABLE`; None as a value takes an option away. With `verify`, or if it
        was made with that, another url has to echo a challenge before it is used."""
        unknown = changes.keys() - CHANGEABLE
        if unknown:
            raise ValueError(f"not an option of an endpoint: {', '.join(sorted(unknown))}")
        endpoint = await self.get(id_)
        if endpoint is None:
            return None
        # The route changes with the types and only then: two changes at once must not put back
        # each other's word.
        word = _route_word(id_, changes["types"] or ALL_TYPES) if "types" in changes else ""
        await self._write(id_, endpoint.user, changes, word=word, verify=verify)
        return await self.get(id_)

    async def _write(
        self,
        id_: str,
        user: str,
        changes: Mapping[str, Any],
        *,
        word: str = "",
        known: bytes = b"",
        verify: bool = False,
    ) -> bool:
        """False when the endpoint's sealed secrets are not `known` (b"": any will do). Raises
        `EndpointUnverified` for a state that only an echo brings about."""
        removed = [name for name, value in changes.items() if value is None]
        head = [id_, user, word, self._changes_max, known, int(verify), len(removed), *removed]
        answer = await self._store.call(
            "change_endpoint", self._keys(id_), [*head, *self._flat(id_, changes)]
        )
        if answer == b"unverified":
            raise EndpointUnverified("this endpoint has to echo a challenge first: ask for :verify")
        return answer != b"moved"

    async def delete(self, id_: str) -> bool:
        """True when there was one."""
        user = await self._owner_of(id_)
        if user is None:
            return False
        shard = shard_of_id(id_)
        named = [*self._keys(id_), keys.attempts(shard, id_), keys.parked(shard, id_)]
        await self._store.call("delete_endpoint", named, [id_, user, self._changes_max])
        return True

    async def _owner_of(self, id_: str) -> str | None:
        if not self._is_ours(id_):
            return None
        user = await self._store.execute("HGET", keys.endpoint(shard_of_id(id_), id_), "user")
        return None if user is None else user.decode()

    async def rotate(self, id_: str, secret: str, overlap_s: float, now_ms: int) -> Endpoint | None:
        """A new secret, for the same way of signing; those before it sign too for `overlap_s`
        more."""
        if not self._is_ours(id_):
            return None
        key = keys.endpoint(shard_of_id(id_), id_)
        until_ms = now_ms + round(overlap_s * 1000)
        while True:
            user, sealed = await self._store.execute("HMGET", key, "user", "secrets")
            if user is None:
                return None
            old = self._vault.open_secrets(id_, sealed) or ()
            if old and old[0].value == secret:  # written by a first try, whose answer was lost
                break
            new = _with_new_secret(secret, old, now_ms, until_ms)
            changed = {"secrets": self._vault.seal_secrets(id_, new)}
            if await self._write(id_, user.decode(), changed, known=sealed):
                break
        return await self.get(id_)

    async def enable(self, id_: str) -> Endpoint | None:
        """Active again, with a clean record. Raises `EndpointUnverified`."""
        user = await self._owner_of(id_)
        if user is None:
            return None
        cleared = ("disabled_reason", "first_failure_at", "failure_days", "open_until")
        changes: dict[str, Any] = dict.fromkeys(cleared)
        await self._write(id_, user, {**changes, "state": "active", "consecutive_failures": 0})
        return await self.get(id_)

    async def attempts(self, id_: str) -> list[AttemptEntry]:
        """The whole log, which has a bound (`attempt_log_max`), the newest first."""
        found = await self._store.execute("LRANGE", keys.attempts(shard_of_id(id_), id_), 0, -1)
        return [decode_attempt(raw) for raw in found]

    async def has_sender(self, id_: str) -> bool:
        """Whether a sender owns the endpoint's shard now."""
        return await self._store.execute("EXISTS", keys.lease(shard_of_id(id_), keys.SENDER)) == 1

    async def ping(self, id_: str, timeout_s: float) -> AttemptEntry:
        """Asks the sender that owns the endpoint to send a ping now. Raises `NoSender`."""
        return decode_attempt(await self._ask("p", id_, timeout_s))

    async def challenge(self, id_: str, timeout_s: float) -> AttemptEntry:
        """The same with a challenge. Raises `TooManyChallenges` too."""
        reply = await self._ask("v", id_, timeout_s)
        if reply == challenges.LATER:
            raise TooManyChallenges("this host gets as many challenges as it may: try again later")
        return decode_attempt(reply)

    async def _ask(self, what: str, id_: str, timeout_s: float) -> bytes:
        shard = shard_of_id(id_)
        request = randomness.token_hex(8)
        reply_key = keys.reply(shard, request)
        fields = [what, request, "e", id_]
        await self._store.execute(
            "XADD", keys.changes(shard), "MAXLEN", "~", self._changes_max, "*", *fields
        )
        reply = await _wait_for_reply(self._store, reply_key, timeout_s)
        if reply is None:
            raise NoSender("no sender answered: is a worker running?")
        return reply

    def _flat(self, id_: str, options: Mapping[str, Any]) -> list[Any]:
        """Hash fields; options are kept as JSON, headers sealed, what others write as text."""
        flat: list[Any] = []
        for name, value in options.items():
            if value is None:
                continue
            if name == HEADERS:
                value = self._vault.seal_headers(id_, value)
            elif name in CHANGEABLE:
                value = json.dumps(value)
            flat += [name, value]
        return flat

    def _endpoint(self, id_: str, fields: dict[str, bytes]) -> Endpoint:
        schedule = _json(fields.get("retry_schedule_s"))
        types = _json(fields.get("types"))
        return Endpoint(
            id=id_,
            user=fields["user"].decode(),
            url=_json(fields["url"]),
            types=tuple(types) if types else ALL_TYPES,
            method=_json(fields.get("method")) or "POST",
            headers=self._vault.open_headers(id_, fields.get(HEADERS)),
            rate_per_s=_json(fields.get("rate_per_s")),
            retry_schedule_s=tuple(schedule) if schedule is not None else None,
            description=_json(fields.get("description")),
            secrets=self._vault.open_secrets(id_, fields["secrets"]) or (),
            state=fields["state"].decode(),  # pyright: ignore[reportArgumentType]
            disabled_reason=_text(fields.get("disabled_reason")),
            created_at_ms=int(fields["created_at"]),
            last_success_at_ms=_int(fields.get("last_success_at")),
            consecutive_failures=_int(fields.get("consecutive_failures")) or 0,
            first_failure_at_ms=_int(fields.get("first_failure_at")),
            failure_days=tuple((_text(fields.get("failure_days")) or "").split()),
            open_until_ms=_int(fields.get("open_until")),
            signing="ed25519" if fields.get("signing") == b"ed25519" else "hmac",
            verification=_verification(fields) if fields["state"] == b"unverified" else None,
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


def _verification(fields: dict[str, bytes]) -> Verification:
    return Verification(
        challenges=_int(fields.get("challenges")) or 0,
        last_error=_text(fields.get("challenge_error")),
        next_at_ms=_int(fields.get("challenge_due")),
    )


def _with_new_secret(
    secret: str, old: tuple[Secret, ...], now_ms: int, until_ms: int
) -> tuple[Secret, ...]:
    """The new one first; those that still live, until their end or `until_ms`."""
    kept = [
        Secret(one.value, min(one.expires_at_ms or until_ms, until_ms))
        for one in old
        if one.expires_at_ms is None or one.expires_at_ms > now_ms
    ]
    return (Secret(secret), *kept)[:SECRETS_MAX]


def _route_word(id_: str, types: tuple[str, ...]) -> str:
    """The endpoint's word in the route: its id alone when it wants everything."""
    return id_ if "*" in types else f"{id_}={','.join(types)}"


def _json(raw: bytes | None) -> Any:
    return None if raw is None else json.loads(raw)


def _text(raw: bytes | None) -> str | None:
    return raw.decode() if raw else None


def _int(raw: bytes | None) -> int | None:
    return int(raw) if raw else None

"""What of an endpoint is kept sealed: its secrets, and the headers it wants to be sent.

Both are bound to the endpoint's id, and the headers to being headers. What an earlier release kept
as plain JSON is still read, and sealed when it is next written.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import SealingError
from app.sealing import Sealer

log = logging.getLogger(__name__)

SECRETS, HEADERS = "secrets", "headers"  # fields of an endpoint's hash
SEALED = (SECRETS, HEADERS)
_PLAIN = b"{"  # how headers begin that are not sealed; sealed bytes begin with 1
_NO_HEADERS = b"{}"


@dataclass(frozen=True, slots=True)
class Secret:
    """`expires_at_ms` is set once a newer secret has taken its place."""

    value: str
    expires_at_ms: int | None = None


class Vault:
    """Seals and opens by the names of fields. What does not open is logged, and is None: one such
    endpoint must not stop the others that are read with it."""

    __slots__ = ("_sealer",)

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal_secrets(self, id_: str, secrets: Sequence[Secret]) -> bytes:
        rows = [[secret.value, secret.expires_at_ms] for secret in secrets]
        return self._sealer.seal(json.dumps(rows).encode(), _owner(id_, SECRETS))

    def open_secrets(self, id_: str, sealed: bytes) -> tuple[Secret, ...] | None:
        opened = self._open(id_, SECRETS, sealed)
        return None if opened is None else tuple(Secret(*row) for row in json.loads(opened))

    def seal_headers(self, id_: str, headers: Mapping[str, str]) -> bytes:
        """No headers are no secret, and stay as they are: most endpoints have none."""
        plain = json.dumps(dict(headers)).encode()
        return self._sealer.seal(plain, _owner(id_, HEADERS)) if headers else plain

    def open_headers(self, id_: str, raw: bytes | None) -> dict[str, str] | None:
        """{} when there are none."""
        if raw is None:
            return {}
        opened = raw if raw.startswith(_PLAIN) else self._open(id_, HEADERS, raw)
        return None if opened is None else json.loads(opened)

    def is_current(self, raw: bytes) -> bool:
        """Whether a field is as it would be sealed now: under the newest key, or not at all."""
        return raw == _NO_HEADERS or self._sealer.is_newest(raw)

    def reseal(self, id_: str, field: str, raw: bytes) -> bytes | None:
        """The same under the newest key, and what is plain under it too."""
        plain = raw if raw.startswith(_PLAIN) else self._open(id_, field, raw)
        return None if plain is None else self._sealer.seal(plain, _owner(id_, field))

    def _open(self, id_: str, field: str, sealed: bytes) -> bytes | None:
        try:
            return self._sealer.open(sealed, _owner(id_, field))
        except SealingError as error:
            extra = {"endpoint": id_, "field": field, "error": str(error)}
            log.error("a sealed field does not open", extra=extra)
            return None


def _owner(id_: str, field: str) -> bytes:
    """Who may open it. Secrets were sealed for the bare id before there was anything else."""
    return id_.encode() if field == SECRETS else f"{id_}/{field}".encode()

"""Calls to a running api, for commands that need one."""

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from app.commands.data_dir import ADMIN_KEY, read_secret
from app.commands.environment import read_settings, variable
from app.commands.probe import authority, reachable
from app.errors import CommandFailed, UsageMistake

_DEADLINE_S = 15.0
_ANSWER_BYTES_MAX = 16 * 1024 * 1024


def client_for(url: str | None, key: str | None, data: Path) -> "ApiClient":
    """A client of the api at `url`, else where the settings say, with the key that is found:
    given, in the settings, or in the data directory of `moments up`.

    Raises UsageMistake that names all three when there is no key.
    """
    settings = read_settings()
    where = url or f"http://{authority(reachable(settings.host), settings.port)}"
    path = data / ADMIN_KEY
    found = key or settings.admin_key or (read_secret(path) if path.exists() else None)
    if found is None:
        raise UsageMistake(
            f"no API key: give --key mk_…, set {variable('admin_key')}, or name the directory of "
            f"`moments up` with --data ({path} is not there)"
        )
    return ApiClient(where, found)


@dataclass(frozen=True, slots=True)
class ApiClient:
    """`url` is the api's base, such as http://127.0.0.1:8000; the key goes with every call."""

    url: str
    key: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON that the call is answered with, None for no content.

        Raises CommandFailed with what the api said, or that it did not answer. Blocks.
        """
        raw = None if body is None else json.dumps(body).encode()
        return self._call(method, path, raw, "application/json")

    def send_lines(self, path: str, lines: Iterable[object]) -> Any:
        """POSTs one JSON text a line; the rest as for `call`."""
        raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return self._call("POST", path, raw, "application/x-ndjson")

    def _call(self, method: str, path: str, raw: bytes | None, media_type: str) -> Any:
        headers = {"authorization": f"Bearer {self.key}", "accept": "application/json"}
        if raw is not None:
            headers["content-type"] = media_type
        status, answer = self._exchange(method, path, raw, headers)
        if status >= 400:
            raise CommandFailed(_refusal(status, answer, method, path))
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise CommandFailed(f"{self.url} is no api of moments: it answers no JSON") from error

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection = self._connect()
        try:
            connection.request(method, urlsplit(self.url).path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandFailed(
                f"cannot reach the api at {self.url} ({reason}): is it running? "
                "Start it with `moments up`, or say where it is with --api"
            ) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = parts = None
        if not host or parts is None or parts.scheme not in ("http", "https"):
            raise UsageMistake(f"--api: {self.url!r} is no URL such as http://127.0.0.1:8000")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        return kind(host, port, timeout=_DEADLINE_S)

    def make_token(self, user: str, ttl_s: int) -> Any:
        """`{"token", "expires_at"}` of a user."""
        path = f"/v1/users/{quote(user, safe='')}/tokens"
        return self.call("POST", path, {"ttl_s": ttl_s})


def _refusal(status: int, answer: bytes, method: str, path: str) -> str:
    """What a problem answer says, with the fields that are wrong."""
    try:
        problem = json.loads(answer)
        said = problem.get("detail") or problem["title"]
        fields = [f"{one['field']}: {one['message']}" for one in problem.get("errors", [])]
        wrong = "; ".join(one for one in fields if one not in said)  # the detail may be the first
    except (ValueError, KeyError, TypeError, AttributeError):
        said, wrong = http.client.responses.get(status, "no reason given"), ""
    return f"{method} {path} was answered {status}: {said}" + (f" ({wrong})" if wrong else "")

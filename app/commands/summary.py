"""What `moments up` tells its user once all is ready: where things are and what to try."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from app import __version__
from app.commands.data_dir import ADMIN_KEY, Secret
from app.commands.environment import variable
from app.commands.probe import authority, reachable
from app.log import mask
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Summary:
    """`admin_key` is None when a setting brought it."""

    settings: Settings
    data: Path
    workers: int
    gateway: bool
    admin_key: Secret | None

    def text(self) -> str:
        settings = self.settings
        places = {
            "api": self._api(),
            "workers": str(self.workers),
            "store": mask(settings.redis_url),
        }
        if self.gateway:
            where = authority(reachable(settings.host), settings.gateway_port)
            places["gateway"] = f"ws://{where}/v1/socket"
        places["data"] = str(self.data)
        places["admin key"] = self._admin_key()
        lines = [f"  {name:<10} {place}" for name, place in places.items()]
        tries = [f"  {line}" for line in self._tries()]
        title = f"moments {__version__} is ready"
        return "\n".join(["", title, "", *lines, "", "Try", *tries, "", _END, ""])

    def _api(self) -> str:
        return f"http://{authority(reachable(self.settings.host), self.settings.port)}"

    def _admin_key(self) -> str:
        if self.admin_key is None:
            return f"from {variable('admin_key')}"
        path = self.data / ADMIN_KEY
        if self.admin_key.made:
            return f"{self.admin_key.text}  (shown this once; kept in {path})"
        return f"in {path}"

    def _tries(self) -> list[str]:
        data, api = shlex.quote(str(self.data)), self._api()
        if self.admin_key is None:
            key = f"${variable('admin_key')}"
        else:
            key = f"$(cat {shlex.quote(str(self.data / ADMIN_KEY))})"
        curl = f'curl -sS -H "authorization: Bearer {key}"'
        post = f"-H '{_JSON}' -d '{_POST}'"
        page = f"{api}/moments     # in a browser: a window for each of two friends"
        tail = f"moments tail --user bob --data {data}     # in another terminal"
        return [
            f"{curl} -X PUT {api}/v1/users/alice/friends/bob",
            *([tail] if self.gateway else []),
            f"{curl} {post} {api}/v1/posts",
            "moments listen --port 9000     # a receiver for webhooks",
            *([page] if self.gateway and self.settings.console else []),
        ]


_JSON = "content-type: application/json"
_POST = '{"author": "alice", "data": {"text": "hello"}}'
_END = "Ctrl+C stops everything in order."

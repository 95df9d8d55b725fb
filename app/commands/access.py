"""`moments key` and `moments token`: who may call, managed through the api."""

import json
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from rich.table import Table

from app.commands.api_client import ApiClient
from app.commands.terminal import console, note, plain, say
from app.errors import CommandFailed

_PAGES_MAX = 1_000
_TABLE_WIDTH_MAX = 10_000


def make_key(
    api: ApiClient,
    name: str,
    scopes: Sequence[str],
    rate_per_s: float | None = None,
    *,
    verify_endpoints: bool = False,
    as_json: bool,
) -> None:
    """Prints the new key alone on standard output, for scripts to catch."""
    wanted: dict[str, Any] = {"name": name, "scopes": list(scopes), "rate_per_s": rate_per_s}
    if verify_endpoints:
        wanted["verify_endpoints"] = True
    made = api.call("POST", "/v1/keys", wanted)
    if as_json:
        say(json.dumps(made))
        return
    say(made["key"])
    note(f"key {made['id']} ({', '.join(made['scopes'])}); it is not shown again")


def list_keys(api: ApiClient, *, as_json: bool) -> None:
    keys = _all_keys(api)
    if as_json:
        say(json.dumps(keys))
        return
    table = Table(
        "id", "begins with", "name", "scopes", "rate", "created", box=None, pad_edge=False
    )
    for key in keys:
        scopes = ", ".join(key["scopes"]) + " (verifies endpoints)" * key["verify_endpoints"]
        rate = f"{key['rate_per_s']:g}/s" if "rate_per_s" in key else ""
        cells = (key["id"], key["hint"], key["name"], scopes, rate, key["created_at"])
        table.add_row(*map(plain, cells))
    # As wide as it has to be: an id that is cut short revokes nothing.
    out = console(sys.stdout)
    out.width = _TABLE_WIDTH_MAX
    out.print(table)


def _all_keys(api: ApiClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path = "/v1/keys?limit=200"
    for _ in range(_PAGES_MAX):
        page = api.call("GET", path)
        found += page["items"]
        if page["next"] is None:
            return found
        path = f"/v1/keys?limit=200&after={quote(page['next'], safe='')}"
    raise CommandFailed("the list of keys does not end: this is no api of moments")


def revoke_key(api: ApiClient, key_id: str, *, as_json: bool) -> None:
    api.call("DELETE", f"/v1/keys/{quote(key_id, safe='')}")
    if as_json:
        say(json.dumps({"revoked": key_id}))
        return
    note(f"key {key_id} is revoked; every process knows within two seconds")


def make_token(api: ApiClient, user: str, ttl_s: int, *, as_json: bool) -> None:
    """Prints the token alone on standard output, for scripts to catch."""
    made = api.make_token(user, ttl_s)
    if as_json:
        say(json.dumps(made))
        return
    say(made["token"])
    note(f"for {user} until {made['expires_at']}")

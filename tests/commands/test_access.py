"""`moments key` and `moments token`, run as people and scripts run them, against a real api."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.commands import access
from app.commands.api_client import ApiClient
from app.errors import CommandFailed
from app.store.apikeys import ApiKeys, Scope
from app.store.client import Store
from tests.api.conftest import make_services, serve
from tests.api.served import Served, served
from tests.credentials import SECRET, VERIFIER

NAME = "[red]the importer of the other department[/red]"
READ = frozenset({Scope.READ})


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: what it printed, and what it said beside that."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs `moments` in a folder of its own, with the port of the api in its environment."""

    served: Served
    folder: Path

    @property
    def admin(self) -> str:
        return self.served.api.secrets["admin"]

    async def run(self, *arguments: str, **settings: str) -> Ran:
        inherited = {name: one for name, one in os.environ.items() if "MOMENTS_" not in name}
        given = {"port": str(self.served.port), **settings}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", *arguments),
            cwd=self.folder,
            env={
                **inherited,
                "PYTHONPATH": str(Path(access.__file__).parents[2]),
                "COLUMNS": "60",
                **{f"MOMENTS_{name.upper()}": value for name, value in given.items()},
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def run_as_admin(self, *arguments: str) -> Ran:
        ran = await self.run(*arguments, admin_key=self.admin)
        assert ran.code == 0, ran.err
        return ran

    async def status_with(self, bearer: str, path: str) -> int:
        async with self.served.api.client(bearer) as client:
            return (await client.get(path)).status_code


@pytest.fixture
async def shell(single_store: Store, tmp_path: Path) -> AsyncIterator[Shell]:
    services = make_services(
        single_store,
        api_keys=ApiKeys(single_store, api_keys_max=500),
        tokens=VERIFIER,
        token_secret=SECRET,
    )
    async with serve(services) as api, served(api) as running:
        yield Shell(running, tmp_path)


async def test_a_key_that_is_made_stands_alone_on_standard_output_and_works(shell: Shell):
    ran = await shell.run_as_admin("key", "make", "my importer", "--scope", "read")
    key = ran.out.removesuffix("\n")
    assert key.startswith("mk_")
    assert "\n" not in key
    assert await shell.status_with(key, "/v1/users/bob/friends") == 200
    assert await shell.status_with(key, "/v1/keys") == 403
    assert key not in ran.err
    assert "(read); it is not shown again" in ran.err


async def test_a_key_has_the_scopes_that_were_asked_for(shell: Shell):
    scopes = ["--scope", "read", "--scope", "publish"]
    made = json.loads((await shell.run_as_admin("key", "make", "ci", *scopes, "--json")).out)
    assert (made["name"], made["scopes"]) == ("ci", ["publish", "read"])
    key = await shell.served.api.services.api_keys.find(made["key"])
    assert key is not None
    assert key.scopes == {Scope.PUBLISH, Scope.READ}
    assert not key.verify_endpoints


async def test_a_key_whose_endpoints_are_to_be_verified_is_listed_as_one(shell: Shell):
    await shell.run_as_admin("key", "make", "shop", "--scope", "admin", "--verify-endpoints")
    [row] = [
        line
        for line in (await shell.run_as_admin("key", "list")).out.splitlines()
        if "shop" in line
    ]
    assert "admin (verifies endpoints)" in row


async def test_a_key_has_the_rate_that_was_asked_for(shell: Shell):
    asked = ["--scope", "read", "--rate", "12.5"]
    made = json.loads((await shell.run_as_admin("key", "make", "ci", *asked, "--json")).out)
    assert made["rate_per_s"] == 12.5
    table = (await shell.run_as_admin("key", "list")).out
    [row] = [line for line in table.splitlines() if made["id"] in line]
    assert "12.5/s" in row
    arguments = ["key", "make", "ci", "--scope", "read", "--rate", "0"]
    ran = await shell.run(*arguments, admin_key=shell.admin)
    assert ran.code == 1
    assert "rate_per_s" in ran.err


async def test_a_key_without_a_scope_or_with_an_unknown_one_is_not_made(shell: Shell):
    for arguments in ([], ["--scope", "all"]):
        ran = await shell.run("key", "make", "ci", *arguments, admin_key=shell.admin)
        assert ran.code == 2
        assert "--scope" in ran.err
        assert ran.out == ""


async def test_keys_are_listed_without_their_secrets(shell: Shell):
    made = json.loads(
        (await shell.run_as_admin("key", "make", NAME, "--scope", "read", "--json")).out
    )
    table = (await shell.run_as_admin("key", "list")).out
    listed = json.loads((await shell.run_as_admin("key", "list", "--json")).out)
    [row] = [line for line in table.splitlines() if made["id"] in line]
    assert made["hint"] in row
    assert NAME in row
    assert made["created_at"] in row  # whole, although the terminal has 60 columns
    assert {key["name"] for key in listed} == {"admin", "publish", "read", NAME}
    for secret in (made["key"], *shell.served.api.secrets.values()):
        assert secret not in table
        assert secret not in json.dumps(listed)


async def test_a_name_cannot_steer_the_terminal_of_whoever_lists_it(shell: Shell):
    await shell.served.api.services.api_keys.create("a\x1b[2J\x07\nb\x9b", READ, 1)
    table = (await shell.run_as_admin("key", "list")).out
    assert "\x1b" not in table
    assert "\x07" not in table
    assert "\x9b" not in table
    assert len(table.splitlines()) == 5


async def test_all_keys_are_listed_however_many_pages_they_fill(shell: Shell):
    api_keys = shell.served.api.services.api_keys
    await asyncio.gather(*(api_keys.create(f"k{n}", READ, n) for n in range(410)))
    listed = json.loads((await shell.run_as_admin("key", "list", "--json")).out)
    assert len({key["id"] for key in listed}) == len(listed) == 413


def test_a_list_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch):
    class Endless(ApiClient):
        def call(self, method: str, path: str, body: object = None) -> object:
            return {"items": [], "next": "again"}

    monkeypatch.setattr(access, "_PAGES_MAX", 3)
    with pytest.raises(CommandFailed, match="does not end"):
        access.list_keys(Endless("http://api", "mk_x"), as_json=True)


async def test_a_revoked_key_is_good_for_nothing(shell: Shell):
    made = json.loads(
        (await shell.run_as_admin("key", "make", "ci", "--scope", "read", "--json")).out
    )
    ran = await shell.run_as_admin("key", "revoke", made["id"])
    assert f"key {made['id']} is revoked" in ran.err
    assert await shell.status_with(made["key"], "/v1/users/bob/friends") == 401
    again = await shell.run("key", "revoke", made["id"], admin_key=shell.admin)
    assert again.code == 1
    assert "404" in again.err


async def test_a_refusal_says_once_what_is_wrong(shell: Shell):
    ran = await shell.run("token", "bob bob", admin_key=shell.admin)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("must be 1 to 64 of") == 1


@pytest.mark.parametrize("id_", ["../posts/x", "a b", "?", "é"])
async def test_an_id_that_is_none_is_not_found_and_leads_nowhere_else(shell: Shell, id_: str):
    ran = await shell.run("key", "revoke", id_, admin_key=shell.admin)
    assert (ran.code, ran.out) == (1, "")
    assert "was answered 404" in ran.err


async def test_a_token_stands_alone_on_standard_output_and_opens_its_users_feed(shell: Shell):
    ran = await shell.run_as_admin("token", "bob@example.org", "--ttl", "2m")
    token = ran.out.removesuffix("\n")
    claims = VERIFIER.verify(token)
    assert claims.user == "bob@example.org"
    assert await shell.status_with(token, "/v1/users/bob@example.org/feed") == 200
    assert await shell.status_with(token, "/v1/users/eve/feed") == 403
    assert "for bob@example.org until 20" in ran.err
    assert token not in ran.err


async def test_a_token_lives_for_as_long_as_was_asked_for(shell: Shell):
    ends = [
        VERIFIER.verify(
            json.loads((await shell.run_as_admin("token", "bob", "--json", *ttl)).out)["token"]
        ).expires_at
        for ttl in ([], ["--ttl", "1d"])
    ]
    assert ends[1] - ends[0] == pytest.approx(86_400 - 3_600, abs=20)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["bob", "--ttl", "soon"], 2, "--ttl: 'soon' is no duration"),
        (["bob", "--ttl", "0"], 1, "ttl_s"),
        (["bob", "--ttl", "100d"], 1, "ttl_s: must be at most 2592000"),
        (["two words"], 1, "user"),
    ],
)
async def test_a_token_that_cannot_be_made_says_why(
    shell: Shell, arguments: list[str], code: int, told: str
):
    ran = await shell.run("token", *arguments, admin_key=shell.admin)
    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err


class TestWhichKeyIsUsed:
    async def test_one_that_is_given_goes_before_the_settings_and_these_before_the_directory(
        self, shell: Shell
    ):
        data = shell.folder / "data"
        data.mkdir()
        listing = ["key", "list", "--json"]
        (data / "admin.key").write_text(shell.admin + "\n")
        assert (await shell.run(*listing)).code == 0
        assert (await shell.run(*listing, admin_key="mk_" + "x" * 43)).code == 1
        given = [*listing, "--key", shell.admin]
        assert (await shell.run(*given, admin_key="mk_" + "x" * 43)).code == 0

    async def test_without_any_it_says_where_one_may_come_from(self, shell: Shell):
        ran = await shell.run("key", "list")
        assert ran.code == 2
        for way in ("--key", "MOMENTS_ADMIN_KEY", "--data"):
            assert way in ran.err

    async def test_one_without_the_scope_is_refused_and_not_shown(self, shell: Shell):
        key = shell.served.api.secrets["read"]
        ran = await shell.run("key", "list", "--key", key)
        assert ran.code == 1
        assert "answered 403: This key lacks the scope: admin" in ran.err
        assert key not in ran.err

    async def test_an_api_that_is_not_there_is_named(self, shell: Shell):
        ran = await shell.run("token", "bob", "--api", "http://127.0.0.1:1", admin_key=shell.admin)
        assert ran.code == 1
        assert "cannot reach the api at http://127.0.0.1:1" in ran.err
        assert "Traceback" not in ran.err
